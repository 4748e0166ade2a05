// node make_types.mjs DOCUMENT OUTPUT: the types of openapi-typescript, with `Blob` for bytes, as its page on transforms
// shows.
import { readFile, writeFile } from "node:fs/promises";
import openapiTS, { astToString } from "openapi-typescript";
import ts from "typescript";

const [document, output] = process.argv.slice(2);
const blob = ts.factory.createTypeReferenceNode(ts.factory.createIdentifier("Blob"));
const tree = await openapiTS(JSON.parse(await readFile(document, "utf8")), {
  transform: (schema) => (schema.format === "binary" ? blob : undefined),
});
await writeFile(output, astToString(tree));
