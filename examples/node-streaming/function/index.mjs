// Counts down, and writes each number as soon as it is there.
import { setTimeout } from "node:timers/promises";
import { spell } from "./numbers.mjs";

export const handler = awslambda.streamifyResponse(async (event, stream) => {
  stream.setContentType("text/plain");
  for (let n = event.from; n >= 0; n -= 1) {
    stream.write(`${spell(n)}\n`);
    await setTimeout(100);
  }
  stream.end();
});
