"""The name of upstream changes its address, or cannot be looked up: who is kept goes on, and who is new finds out."""

import socket
import time

import serving
import talk


def trials(binary, folder, names):
    """Each has a name of its own, and a keyward."""
    one, other = _pair()
    port = one.port()

    def start(trial, **settings):
        name = f"{trial}.example".replace("_", "-")
        settings = {"workers": "1", **settings}
        return name, serving.Keyward(binary, folder / trial, f"http://{name}:{port}", **settings)

    def a_new_connection_goes_where_the_name_points_now():
        name, keyward = start("moved", pool_idle_timeout="1s")
        names.answers[name] = ["127.0.0.2"]
        assert talk.ask(keyward.address, "a") == (200, "one a")
        names.answers[name] = ["127.0.0.3"]
        assert talk.ask(keyward.address, "b") == (200, "one b"), "a kept connection is as good as it was"
        deadline = time.monotonic() + 20
        while (answer := talk.ask(keyward.address, "c"))[1] != "other c":
            assert time.monotonic() < deadline, answer
            time.sleep(1.5)

    def a_table_of_hosts_is_read_anew():
        keyward = serving.Keyward(binary, folder / "hosts-table", f"http://by-hosts.example:{port}", pool_idle_timeout="1s")
        names.write_hosts("127.0.0.2 by-hosts.example")
        assert talk.ask(keyward.address, "a") == (200, "one a")
        names.write_hosts("127.0.0.3 by-hosts.example")
        deadline = time.monotonic() + 20
        while (answer := talk.ask(keyward.address, "b"))[1] != "other b":
            assert time.monotonic() < deadline, answer
            time.sleep(1.5)

    def a_connection_that_ends_is_replaced_by_one_to_the_new_address():
        alone = talk.Upstream(socket.create_server(("127.0.0.4", port)), "alone")
        name, keyward = start("ended")
        names.answers[name] = ["127.0.0.4"]
        assert talk.ask(keyward.address, "a") == (200, "alone a")
        names.answers[name] = ["127.0.0.3"]
        alone.close_all()
        assert talk.ask(keyward.address, "b") == (200, "other b")

    def kept_connections_go_on_while_names_cannot_be_looked_up():
        name, keyward = start("broken")
        names.answers[name] = ["127.0.0.2"]
        client = socket.create_connection(keyward.address, timeout=60)
        assert talk.ask(None, "a", client) == (200, "one a")
        for trouble in (names.REFUSED, names.UNKNOWN, []):
            names.answers[name] = trouble
            assert talk.ask(None, "b", client) == (200, "one b"), trouble
            # The kept one is in use, so this request needs another.
            holder = socket.create_connection(keyward.address, timeout=60)
            holder.sendall(talk.request("GET", "stream"))
            holder.recv(1)
            status, text = talk.ask(keyward.address, "new")
            assert status == 502 and name in text and "cannot be resolved" in text, (trouble, status, text)
            names.answers[name] = ["127.0.0.2"]
            holder.close()
            assert talk.ask(None, "c", client) == (200, "one c"), trouble

    def a_silent_name_server_costs_connect_timeout():
        name, keyward = start("silent", connect_timeout="2s")
        names.answers[name] = ["127.0.0.2"]
        client = socket.create_connection(keyward.address, timeout=60)
        assert talk.ask(None, "a", client) == (200, "one a")
        holder = socket.create_connection(keyward.address, timeout=60)
        names.answers[name] = names.SILENT
        holder.sendall(talk.request("GET", "stream"))
        holder.recv(1)
        # The kept connection of upstream is in use, so this request needs another.
        begin, waiting = time.monotonic(), socket.create_connection(keyward.address, timeout=60)
        waiting.sendall(talk.request("GET", "waits"))
        status, text = talk.read_answer(waiting)
        took = time.monotonic() - begin
        assert status == 502 and f"no address for the name {name} within 2s (connect_timeout)" in text, (status, text)
        assert 1.9 < took < 4, took
        return f"{took:.1f} s"

    def a_slow_name_server_is_waited_for():
        name, keyward = start("slow")
        names.answers[name], names.delays[name] = ["127.0.0.2"], 0.5
        assert talk.ask(keyward.address, "a") == (200, "one a")

    def an_address_without_anybody_is_passed_over():
        # No machine on the cable has that address, so that none answers there.
        name, keyward = start("half")
        names.answers[name] = ["10.77.0.99", "127.0.0.2"]
        begin = time.monotonic()
        assert talk.ask(keyward.address, "a") == (200, "one a")
        assert time.monotonic() - begin < 3

    return [
        a_new_connection_goes_where_the_name_points_now,
        a_table_of_hosts_is_read_anew,
        a_connection_that_ends_is_replaced_by_one_to_the_new_address,
        kept_connections_go_on_while_names_cannot_be_looked_up,
        a_silent_name_server_costs_connect_timeout,
        a_slow_name_server_is_waited_for,
        an_address_without_anybody_is_passed_over,
    ]


def _pair():
    """Two upstreams at the same port of two addresses."""
    one = socket.create_server(("127.0.0.2", 0))
    other = socket.create_server(("127.0.0.3", one.getsockname()[1]))
    return talk.Upstream(one, "one"), talk.Upstream(other, "other")
