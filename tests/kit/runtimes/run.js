// In Node, Deno and Bun: `run.js URL PHOTO LARGE` prints what the scenario has found.
import { readFile } from "node:fs/promises";
import process from "node:process";
import { scenario } from "./scenario.js";

const [url, photo, large] = process.argv.slice(2);
console.log(JSON.stringify(await scenario(url, await readFile(photo), await readFile(large))));
process.exit();
