#!/usr/bin/env python3
"""Drive Autobahn|Testsuite against one WebSocket server or client.  Python 3 standard library only.

  run.py server [options] --out DIR [--url ws://127.0.0.1:9002] [-- SERVER COMMAND...]
      fuzzingclient mode.  With a command: it is started first and ended afterwards.
  run.py client [options] --out DIR -- CLIENT COMMAND...
      fuzzingserver mode.  "{url}" in the command becomes ws://host:port; it has to GET
      /getCaseCount, then /runCase?case=N&agent=A for N in 1..count echoing every message.

Everything stays on 127.0.0.1.  The list of cases is split into shards; --jobs run side by side.
DIR/cases.txt lists the cases that ran; the verdicts are in the index.json files below DIR.
"""
import argparse, json, os, shutil, socket, subprocess, sys, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
CORE = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"]
# of the 18 sizes in each group 12.x and 13.x: 16 B to 4 KiB whole, and 8 KiB in 256 octet fragments
LIGHT = [1, 2, 3, 4, 5, 11]
PROFILES = {
    "core": [CORE],                                               # 247 cases
    # 373 cases
    "quick": [CORE, ["9.*"], ["12.%d.%d" % (g, i) for g in range(1, 6) for i in LIGHT],
              ["13.%d.%d" % (g, i) for g in range(1, 8) for i in LIGHT]],
    "full": [CORE, ["9.*"]] + [["12.%d.*" % g] for g in range(1, 6)] + [["13.%d.*" % g] for g in range(1, 8)],   # 517
}

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("mode", choices=["server", "client"])
p.add_argument("--home", default=os.environ.get("AUTOBAHN_HOME", os.path.join(HERE, "home")))
p.add_argument("--url", default="ws://127.0.0.1:9002")
p.add_argument("--port", type=int, default=9101, help="first fuzzingserver port (client mode)")
p.add_argument("--agent", default="testee")
p.add_argument("--out", required=True)
p.add_argument("--profile", default="core", help="%s, or case patterns such as 1.*,12.1.3" % ", ".join(PROFILES))
p.add_argument("--jobs", type=int, default=1)
p.add_argument("--limit", type=int, default=7200, help="seconds per shard")
argv = sys.argv[1:]
argv, cmd = (argv[:argv.index("--")], argv[argv.index("--") + 1:]) if "--" in argv else (argv, [])
a = p.parse_args(argv)
wstest = os.path.join(os.path.abspath(a.home), "wstest")
out = os.path.abspath(a.out)
shards = PROFILES.get(a.profile) or [[c] if "*" in c else [c] for c in a.profile.split(",")]
if a.profile not in PROFILES:
    shards = [sum(shards, [])]
shutil.rmtree(out, ignore_errors=True)
os.makedirs(out)


def wait_port(host, port, proc, limit=60):
    end = time.time() + limit
    while time.time() < end:
        if proc is not None and proc.poll() is not None:
            sys.exit("run.py: process ended with status %s before listening on %s:%d" % (proc.returncode, host, port))
        try:
            socket.create_connection((host, port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit("run.py: nothing listens on %s:%d" % (host, port))


def stop(proc):
    if proc.poll() is None:
        proc.terminate()
        try:
            proc.wait(10)
        except subprocess.TimeoutExpired:
            proc.kill()
            proc.wait()


def update_reports(port):
    """Ask for the reports ourselves, so that a client which broke off half-way still gets them."""
    s = socket.create_connection(("127.0.0.1", port), 10)
    s.settimeout(120)
    s.sendall(b"GET /updateReports?agent=run HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n" % port)
    try:
        while s.recv(4096):     # 101, then a close frame once the files are written
            s.sendall(b"\x88\x80\0\0\0\0")
    except OSError:
        pass
    s.close()


def run_shard(i, pats):
    d = os.path.join(out, "shard%02d" % i)
    os.makedirs(d)
    spec = {"outdir": d, "cases": pats, "exclude-cases": [], "exclude-agent-cases": {}}
    log = open(os.path.join(d, "wstest.log"), "w")
    t0 = time.time()
    f = os.path.join(d, "spec.json")
    if a.mode == "server":
        spec["servers"] = [{"agent": a.agent, "url": a.url}]
        json.dump(spec, open(f, "w"))
        w = subprocess.Popen([wstest, "-m", "fuzzingclient", "-s", f], stdout=log, stderr=log, cwd=d)
        try:
            w.wait(a.limit)
        except subprocess.TimeoutExpired:
            pass
        stop(w)
    else:
        port = a.port + i
        spec["url"] = "ws://127.0.0.1:%d" % port
        json.dump(spec, open(f, "w"))
        w = subprocess.Popen([wstest, "-m", "fuzzingserver", "-s", f, "-u", "0"], stdout=log, stderr=log, cwd=d)
        try:
            wait_port("127.0.0.1", port, w)
            words = [word.replace("{url}", spec["url"]) for word in cmd]
            with open(os.path.join(d, "client.log"), "w") as cl:
                c = subprocess.Popen(words, stdout=cl, stderr=cl)
                try:
                    c.wait(a.limit)
                except subprocess.TimeoutExpired:
                    pass
                stop(c)
            update_reports(port)
        finally:
            stop(w)
    log.close()
    wanted = []
    for line in open(os.path.join(d, "wstest.log"), errors="replace"):
        if line.startswith("Cases = "):
            wanted = json.loads(line[8:].replace("u'", "'").replace("'", '"'))
            break
    with lock:
        cases.extend(wanted)
        if not wanted:
            broken.append(d)
        print("shard %2d  %4d cases  %7.1f s  %s" % (i, len(wanted), time.time() - t0, " ".join(pats)[:60]), flush=True)


lock, cases, broken = threading.Lock(), [], []
server = None
if a.mode == "server":
    hp = a.url.split("//")[1].split("/")[0].rsplit(":", 1)
    if cmd:
        sl = open(os.path.join(out, "server.log"), "w")
        server = subprocess.Popen(cmd, stdout=sl, stderr=sl)
    wait_port(hp[0], int(hp[1]), server)
elif not cmd:
    sys.exit("run.py: client mode needs a command")
t0 = time.time()
try:
    todo = list(enumerate(shards))

    def worker():
        while True:
            with lock:
                if not todo:
                    return
                job = todo.pop(0)
            run_shard(*job)

    ts = [threading.Thread(target=worker) for _ in range(max(1, a.jobs))]
    [t.start() for t in ts]
    [t.join() for t in ts]
finally:
    if server is not None:
        stop(server)
with open(os.path.join(out, "cases.txt"), "w") as f:
    f.write("\n".join(cases) + "\n")
print("wall %.1f s" % (time.time() - t0), flush=True)
if broken:
    print("run.py: no case list from " + ", ".join(broken))
    sys.exit(3)
