// What the JavaScript checks share: where the sandbox is, and the form of their reports.
//
// A check calls `cases` once with its cases; they run in order, each reports one line, and a failure does not keep
// the next one from running. tests/clients/run.py counts the lines.

/** SANDBOX_HTTP and the other keys of sandbox.env. */
export const sandbox = process.env;

const PATIENCE_MS = 60_000;

/** Runs `{name: async () => {...}}` in order and ends the process. */
export async function cases(all) {
  let failed = 0;
  for (const [name, run] of Object.entries(all)) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no end after ${PATIENCE_MS} ms`)), PATIENCE_MS);
    });
    try {
      await Promise.race([run(), late]);
      console.log(`ok ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED ${name}`);
      console.log(error?.stack ?? error);
    } finally {
      clearTimeout(timer);
    }
  }
  process.exit(failed ? 1 : 0);
}

/** The error that `promise` ends with; fails where it ends well. */
export async function refused(promise) {
  let value;
  try {
    value = await promise;
  } catch (error) {
    return error;
  }
  throw new Error(`this should have been refused, and gave ${JSON.stringify(value)}`);
}

/** One of the sandbox's own controls, such as `control('POST', 'faults', {...})`. */
export async function control(method, path, body) {
  const response = await fetch(`${sandbox.SANDBOX_HTTP}/sandbox/${path}`, {
    method,
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} /sandbox/${path}: ${response.status} ${text}`);
  return text ? JSON.parse(text) : null;
}
