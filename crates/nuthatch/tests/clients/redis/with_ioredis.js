// Drives ioredis through HOST PORT; prints ok, or fails at the first answer that is not right.
const assert = require("assert");
const { Redis } = require("ioredis");

const [host, port] = process.argv.slice(2);

async function drive() {
  const client = new Redis(Number(port), host, { connectionName: "me", maxRetriesPerRequest: 0 });
  assert.equal(await client.ping(), "PONG");
  assert.equal(await client.get("nothing"), null);
  assert.equal(await client.set("a", "1", "EX", 1000), "OK");
  assert.equal(await client.get("a"), "1");
  const binary = Buffer.from(Array.from({ length: 100000 }, (_, i) => i % 256));
  assert.equal(await client.set("binary", binary), "OK");
  assert.ok(binary.equals(await client.getBuffer("binary")));

  // Keys of all servers, and many requests in one write.
  const names = Array.from({ length: 200 }, (_, i) => `many:${i}`);
  assert.equal(await client.mset(Object.fromEntries(names.map((name, i) => [name, i]))), "OK");
  assert.deepEqual(await client.mget(...names, "nothing"), [...names.map((_, i) => `${i}`), null]);
  const replies = await Promise.all(names.map((name) => client.incr(name)));
  assert.deepEqual(replies, names.map((_, i) => i + 1));
  const pipeline = client.pipeline();
  names.forEach((name) => pipeline.get(name));
  const piped = await pipeline.exec();
  assert.deepEqual(piped, names.map((_, i) => [null, `${i + 1}`]));
  assert.equal(await client.del(...names), 200);

  // Types, scripts and errors.
  assert.equal(await client.hset("h", { f: 1, g: 2 }), 2);
  assert.deepEqual(await client.hgetall("h"), { f: "1", g: "2" });
  assert.equal(await client.zadd("z", 1, "a", 2.5, "b"), 2);
  assert.deepEqual(await client.zrange("z", 0, -1, "WITHSCORES"), ["a", "1", "b", "2.5"]);
  client.defineCommand("add", { numberOfKeys: 1, lua: "return redis.call('INCRBY', KEYS[1], ARGV[1])" });
  assert.equal(await client.add("counter", 7), 7);
  assert.equal(await client.add("counter", 7), 14);
  await assert.rejects(client.lpush("a", "x"), /^ReplyError: WRONGTYPE/);
  await assert.rejects(client.call("NOSUCH", "a"), /unknown command/);
  assert.equal(await client.del("a", "binary", "h", "z", "counter"), 5);
  await client.quit();
}

drive().then(() => console.log("ok"), (error) => {
  console.error(error);
  process.exit(1);
});
