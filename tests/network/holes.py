"""A peer vanishes without a word: the promise is that keyward notices within two minutes, whatever was going on."""

import socket
import threading
import time

import processes
import serving
import talk
from world import HERE

# Two minutes, and a tick or two of keyward's slow clock.
LIMIT = 120 + 15


def trials(binary, folder, cable):
    """Everybody begins, then the cable is cut once, and each sees for itself what comes of it."""
    far, near = talk.Upstream(cable.listen()), talk.Upstream(socket.create_server(("127.0.0.1", 0)))
    to_far = serving.Keyward(binary, folder / "to-far", far.url())
    from_far = serving.Keyward(binary, folder / "from-far", near.url(), listen=f"{HERE}:0")
    for_the_pool = serving.Keyward(binary, folder / "pool", to_far.upstream, workers="1")
    moment = {}

    def cut():
        cable.cut()
        moment["cut"] = time.monotonic()

    def after_the_cut():
        begun.wait(30)
        return moment["cut"]

    def upstream_vanishes_in_mid_answer():
        client = _begin(to_far, "GET", "stream")
        _until(client, b"first")
        cut = after_the_cut()
        talk.read_to_the_end(client)
        return _check(to_far, "stream", cut, time.monotonic(), {"cut_off", "timed_out"})

    def upstream_vanishes_before_its_answer():
        client = _begin(to_far, "POST", "silence", "Content-Length: 2\r\n", b"{}")
        far.wait_for("silence")
        cut = after_the_cut()
        assert (answer := talk.read_answer(client))[0] == 502, answer
        return _check(to_far, "silence", cut, time.monotonic(), {"cut_off"})

    def upstream_vanishes_during_an_upload():
        client = _begin(to_far, "POST", "upload", f"Content-Length: {1 << 40}\r\n", bytes(1 << 20))
        _send_on(client)
        cut = after_the_cut()
        assert (answer := talk.read_answer(client))[0] in (502, 504), answer
        return _check(to_far, "upload", cut, time.monotonic(), {"cut_off", "timed_out"})

    def upstream_vanishes_under_a_websocket():
        client = _begin(to_far, "GET", "websocket", "Connection: Upgrade\r\nUpgrade: websocket\r\n")
        assert b" 101 " in talk.read_head(client)
        cut = after_the_cut()
        client.sendall(b"is anybody there?")
        talk.read_to_the_end(client)
        return _check(to_far, "websocket", cut, time.monotonic(), {"cut_off", "timed_out"})

    def client_vanishes_in_mid_answer():
        client = cable.connect(from_far.address)
        client.sendall(talk.request("GET", "trickle"))
        _until(client, b"piece")
        return _left(near, from_far, "trickle", after_the_cut())

    def client_vanishes_while_it_waits():
        client = cable.connect(from_far.address)
        client.sendall(talk.request("GET", "silence"))
        near.wait_for("silence")
        return _left(near, from_far, "silence", after_the_cut())

    def client_vanishes_during_its_upload():
        client = cable.connect(from_far.address)
        client.sendall(talk.request("POST", "upload", "Content-Length: 1000\r\n") + b"half")
        near.wait_for("upload")
        return _left(near, from_far, "upload", after_the_cut())

    def upstream_vanishes_while_its_connection_is_kept():
        # Its connection is kept, and used again when upstream is not there any more.
        assert talk.ask(for_the_pool.address, "short") == (200, " short")
        cut = after_the_cut()
        client = _begin(for_the_pool, "POST", "pooled", "Content-Length: 2\r\n", b"{}")
        assert (answer := talk.read_answer(client))[0] == 502, answer
        return _check(for_the_pool, "pooled", cut, time.monotonic(), {"cut_off"})

    everything = [
        upstream_vanishes_in_mid_answer,
        upstream_vanishes_before_its_answer,
        upstream_vanishes_during_an_upload,
        upstream_vanishes_under_a_websocket,
        upstream_vanishes_while_its_connection_is_kept,
        client_vanishes_in_mid_answer,
        client_vanishes_while_it_waits,
        client_vanishes_during_its_upload,
    ]
    begun = threading.Barrier(len(everything), action=cut)
    return everything


def _begin(keyward, method, what, headers="", body=b""):
    client = socket.create_connection(keyward.address, timeout=150)
    client.sendall(talk.request(method, what, headers) + body)
    return client


def _send_on(client):
    def send():
        try:
            while True:
                client.sendall(bytes(65536))
        except OSError:
            pass

    threading.Thread(target=send, daemon=True).start()


def _until(client, bytes_):
    heard = b""
    while bytes_ not in heard:
        heard += client.recv(1)


def _check(keyward, what, cut, noticed, outcomes):
    took = noticed - cut
    assert took < LIMIT, f"it took {took:.0f} s"
    line = keyward.line(what)
    assert line["outcome"] in outcomes, line
    return f"noticed after {took:.0f} s: {line['outcome']}, {line.get('cause')}"


def _left(upstream, keyward, what, cut):
    """Upstream is told as soon as keyward notices that its answer is not wanted."""
    processes.until(lambda: what in upstream.ended, timeout=LIMIT, what="upstream to be left")
    return _check(keyward, what, cut, upstream.ended[what], {"client_gone"})
