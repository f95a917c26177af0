// Drives node-redis through HOST PORT with both protocols; prints ok, or fails at the first answer that is
// not right.
const assert = require("assert");
const { createClient } = require("redis");

const [host, port] = process.argv.slice(2);

async function drive(options) {
  const socket = { host, port: Number(port), reconnectStrategy: false };
  const client = createClient({ socket, name: "me", ...options });
  client.on("error", (error) => {
    throw error;
  });
  await client.connect();
  assert.equal(await client.ping(), "PONG");
  assert.equal(await client.get("nothing"), null);
  assert.equal(await client.set("a", "1", { EX: 1000 }), "OK");
  assert.equal(await client.get("a"), "1");
  assert.equal(await client.exists("a"), 1);

  // Keys of all servers, and many requests in one write.
  const names = Array.from({ length: 200 }, (_, i) => `many:${i}`);
  assert.equal(await client.mSet(names.map((name, i) => [name, `${i}`])), "OK");
  assert.deepEqual(await client.mGet([...names, "nothing"]), [...names.map((_, i) => `${i}`), null]);
  const replies = await Promise.all(names.map((name) => client.incr(name)));
  assert.deepEqual(replies, names.map((_, i) => i + 1));
  assert.equal(await client.del(names), 200);

  // Types, scripts and errors.
  assert.equal(await client.hSet("h", { f: "1", g: "2" }), 2);
  assert.deepEqual({ ...(await client.hGetAll("h")) }, { f: "1", g: "2" });
  const scored = [{ value: "a", score: 1 }, { value: "b", score: 2.5 }];
  assert.equal(await client.zAdd("z", scored), 2);
  assert.deepEqual(await client.zRangeWithScores("z", 0, -1), scored);
  const script = "return redis.call('INCRBY', KEYS[1], ARGV[1])";
  assert.equal(await client.eval(script, { keys: ["counter"], arguments: ["7"] }), 7);
  await assert.rejects(client.lPush("a", "x"), /WRONGTYPE/);
  await assert.rejects(client.sendCommand(["NOSUCH", "a"]), /unknown command/);
  assert.equal(await client.del(["a", "h", "z", "counter"]), 4);
  await client.close();
}

drive({}).then(() => drive({ RESP: 2 })).then(() => drive({ RESP: 3 })).then(
  () => console.log("ok"),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
