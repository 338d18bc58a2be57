// Builds dist when the package is installed from its folder. `npm install ../clients/node` links the folder without
// installing anything inside it, so the compiler and the dependencies may be missing here.
import { execSync } from "node:child_process";
import { existsSync } from "node:fs";

const run = (command) => execSync(command, { stdio: "inherit" });

if (!existsSync("node_modules/typescript")) run("npm install --no-save --ignore-scripts");
run("npm run build");
