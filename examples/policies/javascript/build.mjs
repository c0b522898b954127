// node build.mjs FOLDER_OF_THE_CONTRACT OUTPUT: compiles policy.js to a component.

import { writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

const [contract, output] = process.argv.slice(2);
const { component } = await componentize({
  sourcePath: "policy.js",
  witPath: contract,
  worldName: "selection-policy",
  // A policy has no network; without these the component does not even ask for one.
  disableFeatures: ["http", "fetch-event"],
});
await writeFile(output, component);
