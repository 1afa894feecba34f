"""The exporter beside real runs: what a scrape sees, and that nothing it meets holds up the run."""
import base64
import concurrent.futures
import contextlib
import http.client
import http.server
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import harness

# Long enough to be watched; tests stop it as soon as they have seen enough.
WATCHED = {"steps": 1000000, "checkpoint.every_epochs": 0, "evaluation.every_epochs": 0,
           "metrics.prometheus": True, "metrics.listen": "127.0.0.1:0", "metrics.every_steps": 2}
SHORT = {**WATCHED, "steps": 30}
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def scrape(address, user=None, timeout=20):
    request = urllib.request.Request(f"http://{address}/metrics")
    if user:
        request.add_header("Authorization", "Basic " + base64.b64encode(user.encode()).decode())
    with DIRECT.open(request, timeout=timeout) as answer:
        return answer.read().decode()


def samples(text):
    """(name, labels as a frozenset of pairs) -> value."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line).groups()
        pairs = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or "")
        found[name, frozenset(pairs)] = float(value)
    return found


def names(text):
    return set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))


def promtool_accepts(test, text):
    """`promtool check metrics`, where Debian's prometheus is installed."""
    if shutil.which("promtool"):
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True,
                                 capture_output=True)
        test.assertEqual((checked.returncode, checked.stdout, checked.stderr), (0, "", ""))


class Metrics(harness.TestCase):
    def watch(self, settings=None, ranks=2, **options):
        """Starts a run; returns its process and the exporter's address."""
        targets = self.folder / "sd"
        path = harness.write_experiment(self.folder / "watched.yaml",
                                        {**WATCHED, "metrics.file_sd_dir": str(targets),
                                         **(settings or {})}, run_dir=self.folder / "watched")
        process = harness.start("train", path, ranks=ranks, **options)
        self.addCleanup(process.communicate)
        self.addCleanup(harness.kill, process)
        harness.wait_for(lambda: list(targets.glob("*.json")), "the target file")
        (target,) = json.loads(next(targets.glob("*.json")).read_text())
        (address,) = target["targets"]
        self.assertEqual(target["labels"], {"__meta_syncnorm_run": str(self.folder / "watched")})
        # Ranks compute and wait without pause, and the exporter has the lowest priority: on as many cores as
        # ranks it would get none, and a scrape take seconds. Only the training threads are moved.
        for pid in harness.ranks_of(process, ranks) if ranks else [process.pid]:
            os.sched_setaffinity(pid, {min(os.sched_getaffinity(0))})
        return process, address

    def stop(self, process, ranks=2):
        """Ends a watched run as Slurm would; returns its result."""
        for pid in harness.ranks_of(process, ranks) if ranks else [process.pid]:
            os.kill(pid, signal.SIGTERM)
        return harness.finish(process)

    def steps_done(self, address, more_than, layer=None):
        """A scrape behind that many steps, in which `layer` has a drift: it has been sampled twice, and
        all ranks of the node had written the same sample when they were read."""
        text = ""

        def reached():
            nonlocal text
            time.sleep(0.1)
            text = scrape(address)
            seen = samples(text)
            drift = seen["syncnorm_layer_drift_ratio", frozenset({("layer", layer)})] if layer else 1.0
            return seen["syncnorm_step", frozenset()] > more_than and drift > 0.0
        harness.wait_for(reached, f"step {more_than}")
        return text

    def test_a_scrape_of_two_ranks_sees_everything(self):
        process, address = self.watch({"metrics.layers": True, "metrics.layer_limit": 3,
                                       "metrics.textfile": str(self.folder / "end.prom")})
        first = scrape(address)
        later = self.steps_done(address, 4, layer="bn1")
        promtool_accepts(self, later)
        self.assertEqual(names(first), names(later))
        self.assertTrue(all(n.startswith("syncnorm_") for n in names(later)))
        self.assertEqual(len(re.findall("^# HELP", later, re.MULTILINE)), len(names(later)))
        self.assertEqual({k for k in samples(first)}, {k for k in samples(later)})
        seen = samples(later)

        def value(name, **labels):
            return seen["syncnorm_" + name, frozenset(labels.items())]

        count = value("step_duration_seconds_count")
        self.assertEqual(value("step_duration_seconds_bucket", le="+Inf"), count)
        self.assertEqual(value("samples_total"), 16 * count)
        self.assertEqual(value("run_outcome", outcome="running"), 1)
        self.assertEqual(value("planned_steps"), 1000000)
        self.assertGreater(value("checkpoint_bytes"), 1000)
        self.assertLess(abs(time.time() - value("checkpoint_last_success_timestamp_seconds")), 120)
        self.assertTrue(0 < value("effective_training_time_ratio") <= 1)
        for rank in "01":
            self.assertGreater(value("rank_steps_total", rank=rank), 0)
            self.assertGreater(value("compute_seconds_total", rank=rank), 0)
            self.assertGreater(value("gradient_norm", rank=rank), 0)
            self.assertGreater(value("memory_peak_bytes", rank=rank), 1 << 20)
            self.assertGreater(value("memory_arena_bytes", rank=rank), 1 << 10)
            for phase in ("forward_statistics", "backward_statistics", "gradient", "loss"):
                self.assertGreater(value("reduction_bytes_total", rank=rank, phase=phase), 0)
                self.assertGreater(
                    value("reduction_in_flight_seconds_total", rank=rank, phase=phase), 0)
        # Bytes follow from the program: 2C+1 sums of 8 bytes forward, 2C backward, for each norm.
        self.assertEqual(
            value("reduction_bytes_total", rank="0", phase="loss"),
            40 * value("rank_steps_total", rank="0"))
        self.assertEqual(min(value("straggler_ratio", rank=r) for r in "01"), 1)
        # Eight replicas of two 8x8 images share their statistics.
        for layer in ("bn1", "layer1.0.bn1", "layer1.0.bn2"):
            self.assertEqual(value("layer_effective_values", layer=layer), 8 * 2 * 64)
            for name in ("replica_mean_spread_ratio", "replica_variance_spread_ratio",
                         "activation_standard_deviation", "drift_ratio"):
                self.assertGreater(value("layer_" + name, layer=layer), 0)
        self.assertEqual(sum(name == "syncnorm_layer_drift_ratio" for name, _ in seen), 3)
        # Only one metric says which run it is.
        self.assertEqual({n for n, labels in seen if dict(labels).get("run")},
                         {"syncnorm_run_info"})
        result = self.stop(process)
        self.assertEqual(result.code, 75, result.err)
        self.assertEqual(list((self.folder / "sd").iterdir()), [])
        end = (self.folder / "end.prom").read_text()
        promtool_accepts(self, end)
        self.assertEqual(samples(end)["syncnorm_run_outcome", frozenset({("outcome", "stopped")})],
                         1)
        self.assertEqual(names(end), names(later))

    def test_every_node_has_an_endpoint_of_its_own(self):
        """Ranks 2 and 3 are on another machine, as far as they can see: it has another name."""
        other = ["unshare", "--uts", "sh", "-c", "hostname elsewhere && exec \"$0\" \"$@\""]
        if subprocess.run([*other, "true"], capture_output=True).returncode != 0:
            self.skipTest("a host name of its own needs rights that are not here")
        wrapper = self.folder / "wrapper"
        wrapper.write_text(
            f'#!/bin/sh\nif [ "$OMPI_COMM_WORLD_RANK" -lt 2 ]; then exec {harness.PROGRAM} "$@"; fi\n'
            f"exec {shlex.join(other)} {harness.PROGRAM} \"$@\"\n")
        wrapper.chmod(0o755)
        process, _ = self.watch(ranks=4, program=wrapper)
        targets = self.folder / "sd"
        harness.wait_for(lambda: len(list(targets.glob("*.json"))) == 2, "two target files")
        nodes = {}
        for path in targets.iterdir():
            (address,) = json.loads(path.read_text())[0]["targets"]
            seen = samples(scrape(address))
            ranks = sorted({dict(labels)["rank"] for _, labels in seen if "rank" in dict(labels)})
            nodes["elsewhere" in path.name] = (ranks, seen)
        self.assertEqual({k: ranks for k, (ranks, _) in nodes.items()},
                         {False: ["0", "1"], True: ["2", "3"]})
        # Both say which run it is; what belongs to the run as a whole comes from rank 0's node.
        for elsewhere, (_, seen) in nodes.items():
            found = {name for name, _ in seen}
            self.assertIn("syncnorm_run_info", found)
            self.assertEqual("syncnorm_loss" in found, not elsewhere)
        self.assertEqual(self.stop(process, ranks=4).code, 75)

    def test_one_rank_without_mpirun(self):
        process, address = self.watch(ranks=0)
        seen = samples(self.steps_done(address, 5))
        self.assertEqual({dict(labels)["rank"] for name, labels in seen if "rank" in dict(labels)},
                         {"0"})
        self.assertEqual(self.stop(process, ranks=0).code, 75)

    def test_restarts_and_lost_time_are_counted(self):
        textfile = self.folder / "end.prom"
        settings = {**SHORT, "checkpoint.every_steps": 10, "metrics.textfile": str(textfile)}
        self.train("again", {**settings, "steps": 10})
        self.train("again", settings, ranks=2, arguments=["--resume", "auto"])
        seen = samples(textfile.read_text())
        self.assertEqual(seen["syncnorm_restarts_total", frozenset()], 1)
        self.assertEqual(seen["syncnorm_step", frozenset()], 30)
        self.assertEqual(seen["syncnorm_step_duration_seconds_count", frozenset()], 20)
        ratio = seen["syncnorm_effective_training_time_ratio", frozenset()]
        run = harness.Run(self.folder / "again")
        begin = min(e["time"] for e in run.of("start"))
        self.assertAlmostEqual(ratio, sum(e["seconds"] for e in run.steps)
                               / (textfile.stat().st_mtime - begin), delta=0.1 * ratio)

    def test_the_bits_do_not_change(self):
        plain = self.train("plain", {"steps": 12})
        watched = self.train("with-metrics", {**SHORT, "steps": 12, "checkpoint.every_epochs": 1,
                                      "evaluation.every_epochs": 1, "metrics.layers": True},
                             ranks=2)
        self.assert_same_bits(plain, watched)

    def test_a_password_is_asked_for(self):
        password = self.folder / "password"
        password.write_text("correct horse\n")
        password.chmod(0o600)
        process, address = self.watch({"metrics.user": "ann",
                                       "metrics.password_file": str(password)}, ranks=0)
        for user in (None, "ann:wrong", "bob:correct horse"):
            with self.assertRaises(urllib.error.HTTPError) as refused:
                scrape(address, user)
            self.assertEqual(refused.exception.code, 401)
            refused.exception.close()
        self.assertIn("syncnorm_step ", scrape(address, "ann:correct horse"))
        self.assertEqual(self.stop(process, ranks=0).code, 75)

    def refused(self, settings, message, ranks=0):
        path = harness.write_experiment(self.folder / "refused.yaml", settings,
                                        run_dir=self.folder / "refused")
        result = harness.run("train", path, ranks=ranks)
        self.assertEqual(result.code, 2, result.err)
        self.assertRegex(result.err, message)

    def test_a_password_that_others_can_read_is_refused(self):
        password = self.folder / "password"
        password.write_text("secret\n")
        password.chmod(0o644)
        for ranks in (0, 2):
            self.refused({**SHORT, "metrics.user": "ann", "metrics.password_file": str(password)},
                         r"refused.yaml:\d+:\d+: metrics.password_file: .* has mode 0644, so that "
                         "others may read it; run chmod 600", ranks)
            self.assertFalse((self.folder / "refused").exists())

    def test_an_address_in_use_is_a_warning_or_the_end(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            path = harness.write_experiment(
                self.folder / "warned.yaml", {**SHORT, "metrics.listen": address},
                run_dir=self.folder / "warned")
            result = harness.run("train", path, ranks=2)
            self.assertEqual(result.code, 0, result.err)
            self.assertIn(f"metrics.listen: cannot listen on {address}", result.err)
            self.assertIn("the run goes on without an exporter", result.err)
            self.assertEqual(harness.Run(self.folder / "warned").summary["status"], "done")
            self.refused({**SHORT, "metrics.listen": address, "metrics.required": True},
                         rf"refused.yaml:\d+:\d+: metrics.listen: cannot listen on {address}.*; "
                         "free it, or choose another, or port 0", ranks=2)

    def test_one_address_of_two_is_served(self):
        """Also where the other is IPv6 and the HTTP library has none; required: that ends the run."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            listen = [address, "[::1]:0", "127.0.0.1:0"]
            path = harness.write_experiment(
                self.folder / "some.yaml", {**SHORT, "metrics.listen": listen},
                run_dir=self.folder / "some")
            result = harness.run("train", path)
            self.assertEqual(result.code, 0, result.err)
            self.assertRegex(result.err, f"metrics.listen: cannot listen on {address}: Address already in "
                                         "use.*; the other addresses are served")
            self.refused({**SHORT, "metrics.listen": listen, "metrics.required": True},
                         f"metrics.listen: cannot listen on {address}: Address already in use.*; free it, "
                         "or choose another, or port 0")

    def test_storms_and_slow_clients_do_nothing_to_the_run(self):
        process, address = self.watch()
        host, port = address.split(":")
        begin = int(samples(scrape(address))["syncnorm_step", frozenset()])
        idle = [socket.create_connection((host, int(port))) for _ in range(6)]
        for number, client in enumerate(idle):
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" if number % 2 else b"GET /m")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            def patient(_):
                try:
                    return bool(scrape(address, timeout=60))
                except (OSError, http.client.HTTPException):  # turned away by a full queue
                    return False
            answered = sum(pool.map(patient, range(40)))
        for client in idle:
            client.close()
        self.assertGreater(answered, 0)
        self.steps_done(address, begin + 2)
        stop = threading.Event()

        def until_the_end():
            while not stop.is_set():
                try:
                    scrape(address)
                except (OSError, http.client.HTTPException):  # closed in the middle
                    pass
        clients = [threading.Thread(target=until_the_end) for _ in range(3)]
        for client in clients:
            client.start()
        slow = socket.create_connection((host, int(port)))
        slow.sendall(b"GET /metrics HT")
        result = self.stop(process)
        stop.set()
        slow.close()
        for client in clients:
            client.join()
        self.assertEqual(result.code, 75, result.err)
        self.assertTrue((self.folder / "watched" / "summary.json").exists())

    def test_a_killed_rank_leaves_no_memory_and_the_next_run_cleans_up(self):
        process, address = self.watch()
        for pid in harness.ranks_of(process, 2):
            os.kill(pid, signal.SIGKILL)
        process.wait(timeout=60)
        self.assertEqual([f for f in os.listdir("/dev/shm") if f.startswith("syncnorm-")], [])
        self.assertEqual(len(list((self.folder / "sd").iterdir())), 1)
        self.train("next", {**SHORT, "metrics.file_sd_dir": str(self.folder / "sd")})
        self.assertEqual(list((self.folder / "sd").iterdir()), [])

    def test_the_outcome_is_pushed_and_a_gateway_that_is_gone_is_a_warning(self):
        got = []

        class Gateway(http.server.BaseHTTPRequestHandler):
            def do_PUT(self):
                got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        with http.server.HTTPServer(("127.0.0.1", 0), Gateway) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = f"http://127.0.0.1:{server.server_port}"
            settings = {**SHORT, "metrics.prometheus": False, "metrics.pushgateway": url}
            self.train("pushed", settings, ranks=2)
            server.shutdown()
        (path, body), = got
        instance = base64.b64encode(str(self.folder / "pushed").encode()).decode()
        instance = instance.replace("+", "-").replace("/", "_")
        self.assertEqual(path, f"/metrics/job@base64/c3luY25vcm0=/instance@base64/{instance}")
        self.assertEqual(
            samples(body.decode())["syncnorm_run_outcome", frozenset({("outcome", "done")})], 1)
        path = harness.write_experiment(self.folder / "gone.yaml", settings,
                                        run_dir=self.folder / "gone")
        result = harness.run("train", path)
        self.assertEqual(result.code, 0, result.err)
        self.assertIn("metrics.pushgateway: 127.0.0.1", result.err)

    def test_a_watched_run_shows_how_it_ended(self):
        process, address = self.watch({"steps": 20, "metrics.linger": 60})
        text = ""
        with contextlib.suppress(OSError, http.client.HTTPException):
            while True:
                text = scrape(address)
                time.sleep(0.05)
        seen = samples(text)
        self.assertEqual(seen["syncnorm_run_outcome", frozenset({("outcome", "done")})], 1)
        self.assertEqual(seen["syncnorm_step", frozenset()], 20)
        self.assertEqual(harness.finish(process).code, 0)

    def test_a_run_that_diverges_says_so(self):
        textfile = self.folder / "end.prom"
        path = harness.write_experiment(
            self.folder / "bad.yaml", {**SHORT, "optimizer.lr": 1e30, "metrics.textfile":
                                       str(textfile)}, run_dir=self.folder / "bad")
        self.assertEqual(harness.run("train", path).code, 4)
        seen = samples(textfile.read_text())
        self.assertEqual(seen["syncnorm_run_outcome", frozenset({("outcome", "diverged")})], 1)

    def test_a_textfile_that_cannot_be_written_is_a_warning(self):
        path = harness.write_experiment(
            self.folder / "file.yaml", {**SHORT, "metrics.textfile": "/proc/none/x.prom"},
            run_dir=self.folder / "file")
        result = harness.run("train", path)
        self.assertEqual(result.code, 0, result.err)
        self.assertIn("metrics.textfile: /proc/none/x.prom: cannot be written", result.err)


if __name__ == "__main__":
    harness.main()
