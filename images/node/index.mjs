// Prepares the module search as AWS's managed Node.js runtimes do, then hands over to the runtime client.
//
// `require` reads NODE_PATH by itself and `import` does not: the hook makes it. This file knows nothing of events or of
// the Runtime API: that is aws-lambda-ric's.

import { existsSync, readFileSync } from "node:fs";
import module from "node:module";
import { dirname, join, resolve } from "node:path";
import { resolveSync } from "./layers.mjs";

const root = process.env.LAMBDA_TASK_ROOT;
const file = resolve(root, process.env._HANDLER).replace(/\.[^/]*$/, "");

// Whether the handler is an ES module, by its name or by the package.json that is nearest to it.
const isModule = () => {
  if (existsSync(`${file}.mjs`)) return true;
  for (let place = dirname(file); place.startsWith(root); place = dirname(place)) {
    const about = join(place, "package.json");
    if (existsSync(about)) return /"type"\s*:\s*"module"/.test(readFileSync(about, "utf8"));
  }
  return false;
};

if (module.registerHooks) {
  module.registerHooks({ resolve: resolveSync });
} else if (isModule()) {
  // Older versions run hooks in a thread, which costs a cold start 50 ms: only for those that are sure to need it.
  module.register("./layers.mjs", import.meta.url);
}

// Version 4 begins when it is imported, version 3 when it is told to.
const client = await import("aws-lambda-ric");
await client.run?.(root, process.env._HANDLER);
