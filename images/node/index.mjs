// Prepares the module search as AWS's managed Node.js runtimes do, then hands over to the runtime client.
//
// `require` reads NODE_PATH by itself and `import` does not: the hook makes it. This file knows nothing of events or of
// the Runtime API: that is aws-lambda-ric's.

import module from "node:module";
import { resolveSync } from "./layers.mjs";

if (module.registerHooks) {
  module.registerHooks({ resolve: resolveSync });
} else {
  module.register("./layers.mjs", import.meta.url); // older versions run hooks in a thread of their own
}

// Version 4 begins when it is imported, version 3 when it is told to.
const client = await import("aws-lambda-ric");
await client.run?.(process.env.LAMBDA_TASK_ROOT, process.env._HANDLER);
