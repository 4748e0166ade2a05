// In the emulation of an edge runtime, which has web APIs alone: `edge.js BUNDLE URL PHOTO LARGE`.
import { readFile } from "node:fs/promises";
import { EdgeVM } from "@edge-runtime/vm";

const [bundle, url, photo, large] = process.argv.slice(2);
const vm = new EdgeVM();
vm.evaluate(await readFile(bundle, "utf8"));
vm.context.given = [url, await readFile(photo, "base64"), await readFile(large, "base64")];
const found = await vm.evaluate(`(async () => {
  if (typeof process !== "undefined" || typeof require !== "undefined") throw new Error("this is no edge runtime");
  const bytes = (text) => Uint8Array.from(atob(text), (byte) => byte.charCodeAt(0));
  return JSON.stringify(await client.scenario(given[0], bytes(given[1]), bytes(given[2])));
})()`);
console.log(found);
process.exit();
