"""What users of the official client do, each step checked. Called with the server's address."""

import asyncio
import sys

import nats
from nats.errors import TimeoutError as NatsTimeout
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import BadRequestError, KeyNotFoundError, KeyWrongLastSequenceError, NotFoundError


async def core(nc):
    async def answer(msg):
        await msg.respond(b"hello " + msg.data)

    sub = await nc.subscribe("greet", cb=answer)
    reply = await nc.request("greet", b"you", timeout=10)
    assert reply.data == b"hello you", reply
    await sub.unsubscribe()
    try:
        await nc.request("nobody", b"", timeout=10)
        raise AssertionError("somebody answered")
    except nats.errors.NoRespondersError:
        pass


async def streams(js):
    info = await js.add_stream(name="orders", subjects=["orders.>"])
    assert info.config.name == "orders" and info.state.messages == 0, info
    for n in range(1, 11):
        ack = await js.publish(f"orders.{n % 2}", b"%d" % n, headers={"X-N": str(n)})
        assert (ack.stream, ack.seq) == ("orders", n), ack
    first = await js.publish("orders.0", b"11", headers={"Nats-Msg-Id": "once"})
    again = await js.publish("orders.0", b"11", headers={"Nats-Msg-Id": "once"})
    assert first.seq == again.seq == 11 and again.duplicate, (first, again)
    assert (await js.stream_info("orders")).state.messages == 11
    message = await js.get_msg("orders", 3)
    assert (message.subject, message.data) == ("orders.1", b"3"), message
    last = await js.get_last_msg("orders", "orders.1")
    assert last.data == b"9", last
    try:
        await js.stream_info("none")
        raise AssertionError("a stream that was never made")
    except NotFoundError as error:
        assert error.err_code == 10059, error
    try:
        await js.add_stream(name="other", subjects=["orders.1"])
        raise AssertionError("subjects overlap")
    except BadRequestError as error:
        assert error.err_code == 10065, error
    names = [stream.config.name for stream in await js.streams_info()]
    assert "orders" in names, names


async def pull(js):
    sub = await js.pull_subscribe("orders.>", durable="worker")
    seen = []
    while len(seen) < 11:
        for msg in await sub.fetch(4, timeout=10):
            seen.append(int(msg.data))
            if seen[-1] <= 10:
                assert msg.headers["X-N"] == str(seen[-1]), msg.headers
            assert msg.metadata.sequence.stream == seen[-1], msg.metadata
            await msg.ack_sync()
    assert seen == list(range(1, 12)), seen
    info = await sub.consumer_info()
    assert (info.num_ack_pending, info.num_pending, info.ack_floor.stream_seq) == (0, 0, 11), info
    try:
        await sub.fetch(1, timeout=0.2)
        raise AssertionError("nothing was left")
    except NatsTimeout:
        pass
    # A message that is refused comes again, and says so.
    await js.publish("orders.0", b"12")
    (msg,) = await sub.fetch(1, timeout=10)
    await msg.nak()
    (msg,) = await sub.fetch(1, timeout=10)
    assert (msg.data, msg.metadata.num_delivered) == (b"12", 2), msg.metadata
    await msg.ack_sync()
    await sub.unsubscribe()
    await js.delete_consumer("orders", "worker")


async def push(js):
    got = asyncio.Queue()

    async def take(msg):
        await msg.ack()
        await got.put(int(msg.data))

    sub = await js.subscribe("orders.>", durable="pushed", cb=take, manual_ack=True)
    seen = [await asyncio.wait_for(got.get(), 10) for _ in range(12)]
    assert seen == list(range(1, 13)), seen
    await js.publish("orders.1", b"13")
    assert await asyncio.wait_for(got.get(), 10) == 13
    await sub.unsubscribe()

    config = ConsumerConfig(deliver_policy=DeliverPolicy.LAST, ack_policy=AckPolicy.NONE)
    sub = await js.subscribe("orders.>", config=config)
    assert (await sub.next_msg(timeout=10)).data == b"13"
    await sub.unsubscribe()

    ordered = await js.subscribe("orders.>", ordered_consumer=True)
    seen = [int((await ordered.next_msg(timeout=10)).data) for _ in range(13)]
    assert seen == list(range(1, 14)), seen
    await ordered.unsubscribe()
    assert await js.purge_stream("orders")
    assert (await js.stream_info("orders")).state.messages == 0
    assert await js.delete_stream("orders")


async def keys(js):
    kv = await js.create_key_value(bucket="settings", history=5)
    assert await kv.put("color", b"red") == 1
    entry = await kv.get("color")
    assert (entry.value, entry.revision) == (b"red", 1), entry
    assert await kv.update("color", b"green", last=1) == 2
    try:
        await kv.update("color", b"blue", last=1)
        raise AssertionError("an old revision was taken")
    except KeyWrongLastSequenceError:
        pass
    try:
        await kv.create("color", b"again")
        raise AssertionError("the key is there")
    except KeyWrongLastSequenceError:
        pass
    assert await kv.create("size", b"1") == 3
    history = await kv.history("color")
    assert [(entry.value, entry.revision) for entry in history] == [(b"red", 1), (b"green", 2)], history
    assert sorted(await kv.keys()) == ["color", "size"]

    watcher = await kv.watchall()
    seen = []
    while (entry := await watcher.updates(timeout=10)) is not None:
        seen.append((entry.key, entry.value))
    assert seen == [("color", b"green"), ("size", b"1")], seen
    await kv.put("size", b"2")
    await kv.delete("color")
    entry = await watcher.updates(timeout=10)
    assert (entry.key, entry.value) == ("size", b"2"), entry
    entry = await watcher.updates(timeout=10)
    assert (entry.key, entry.operation) == ("color", "DEL"), entry
    await watcher.stop()
    try:
        await kv.get("color")
        raise AssertionError("the key was deleted")
    except KeyNotFoundError:
        pass
    await kv.purge("size")
    status = await kv.status()
    assert (status.bucket, status.history) == ("settings", 5), status
    assert await js.delete_key_value("settings")


async def objects(js):
    store = await js.create_object_store("files")
    content = bytes(range(256)) * 2048
    info = await store.put("large", content)
    assert (info.size, info.chunks) == (len(content), 4), info
    await store.put("small", b"x")
    assert (await store.get("large")).data == content
    assert (await store.get_info("large")).digest == info.digest
    assert sorted(entry.name for entry in await store.list()) == ["large", "small"]
    await store.put("small", b"y")
    assert (await store.get("small")).data == b"y"
    await store.delete("large")
    try:
        await store.get("large")
        raise AssertionError("the object was deleted")
    except NotFoundError:
        pass
    assert await js.delete_object_store("files")


async def main():
    nc = await nats.connect(sys.argv[1])
    js = nc.jetstream(timeout=10)
    steps = [(core, nc), (streams, js), (pull, js), (push, js), (keys, js), (objects, js)]
    for step, client in steps:
        print(step.__name__, flush=True)
        await asyncio.wait_for(step(client), 60)
    await nc.drain()
    print("all done")


asyncio.run(main())
