// The context of the conformance functions: it counts the operations that have returned, and crashes when it is told to.

const operations = new Set(
  "read write delete condWrite update list invoke start await record now random uuid".split(" "),
);

/** A context that crashes as `crash` says: {attempt, after, how}. */
export function counting(ctx, crash) {
  let count = 0;
  const counted = () => {
    count++;
    if (crash?.attempt !== ctx.attempt || crash.after !== count) return;
    if (crash.how === "exit") process.kill(process.pid, "SIGKILL");
    throw new Error(`conformance: crash after operation ${count}`);
  };
  return wrap(ctx, counted);
}

function wrap(ctx, counted) {
  const after = async (operation) => {
    let refused = false;
    try {
      return await operation();
    } catch (error) {
      refused = error.reason === "TOO_LARGE";
      throw error;
    } finally {
      if (!refused) counted();
    }
  };
  const special = {
    counted,
    plain: ctx,
    all: (branches) => ctx.all(branches.map((branch) => (c) => branch(wrap(c, counted)))),
    start: async (...args) => {
      const handle = await after(() => ctx.start(...args));
      return { instance: handle.instance, result: () => after(() => handle.result()) };
    },
  };
  return new Proxy(ctx, {
    get(_, name) {
      if (name in special) return special[name];
      if (operations.has(name)) return (...args) => after(() => ctx[name](...args));
      return typeof ctx[name] === "function" ? ctx[name].bind(ctx) : ctx[name];
    },
  });
}
