// Where `import` looks for what it does not find beside the function: in the `node_modules` that NODE_PATH names, that is
// in layers and in what the runtime brings. Only names of packages are looked for so.

import { basename, dirname, join } from "node:path";
import { pathToFileURL } from "node:url";

const parents = (process.env.NODE_PATH ?? "")
  .split(":")
  .filter((directory) => basename(directory) === "node_modules")
  .map((directory) => pathToFileURL(join(dirname(directory), "-")).href);

const isPackage = (specifier) => !/^[./#]|^[a-z][a-z0-9+.-]*:/i.test(specifier);

const isToBeLookedFor = (error, specifier, context) =>
  error.code === "ERR_MODULE_NOT_FOUND" && isPackage(specifier) && context.conditions.includes("import");

export const resolveSync = (specifier, context, nextResolve) => {
  try {
    return nextResolve(specifier, context);
  } catch (error) {
    if (!isToBeLookedFor(error, specifier, context)) throw error;
    for (const parentURL of parents) {
      try {
        return nextResolve(specifier, { ...context, parentURL });
      } catch (other) {
        if (other.code !== "ERR_MODULE_NOT_FOUND") throw other;
      }
    }
    throw error; // it names the module that asked
  }
};

// The same for hooks that run in a thread of their own.
export const resolve = async (specifier, context, nextResolve) => {
  try {
    return await nextResolve(specifier, context);
  } catch (error) {
    if (!isToBeLookedFor(error, specifier, context)) throw error;
    for (const parentURL of parents) {
      try {
        return await nextResolve(specifier, { ...context, parentURL });
      } catch (other) {
        if (other.code !== "ERR_MODULE_NOT_FOUND") throw other;
      }
    }
    throw error;
  }
};
