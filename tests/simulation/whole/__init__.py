"""The simulation of the whole: real sidecars in one virtual loop, with everything around them simulated.

**What is real.** `proxy.app.Sidecar` with all that it assembles: the client connections and their parser, the handler,
its stages and policies, the pools and their connections, the audit log with its writing thread, the retention and the
crash recovery, and the store with redis-py, its command queue, its messages and its Lua scripts. The verifier that
judges the trails is the product's own. Left out are the sockets of the listeners and the control plane.

**What is simulated.**

| module | stands in for | what can go wrong |
| --- | --- | --- |
| `loop` | the event loops, the processors | a process is paused, or killed; a wall clock is wrong |
| `threads` | threads, as greenlets | a thread is woken late |
| `network` | sockets and what is between them | delay, loss, cut links, resets, split writes, slow readers, no power |
| `disk` | what fsync promises, over real files | short writes, no room, slow and failing fsyncs, loss of power |
| `redis_server` | Redis, with its scripts in Lua 5.1 | slow, away, failed over, restarted empty, refusing writes |
| `backend` | the session backend, read by h11 | errors, resets before and after the effect, half answers, hangs |
| `clients` | clients, read by h11 | they leave, repeat themselves, and have deadlines of their own |

**One integer decides everything.** `plan` makes from a seed the settings, the clients' requests, the backend's
behaviour and the faults. Each part has a random generator of its own, seeded with the same integer, so a run can be
shortened by leaving out events (`verdict.shortened`). No callback depends on an address in memory, on the hash seed, or
on real time: the digest of all deliveries is equal in every process, and a test compares it.

**How it is made deterministic.** All processes share one loop. Each callback carries the context of the process that
asked for it; the loop holds back those of a paused process and drops those of a killed one, `finally` blocks included.
A thread of the product becomes a greenlet that waits in virtual time wherever the product waits for a queue, an event,
a semaphore or the disk. The product has no code for the simulation: its modules' `threading`, `queue` and `os` are
replaced for the time of a run.

**What must hold** is in `invariants`, each under its name with a paragraph. `python -m tests.simulation --runs N` looks
for a seed that breaks one; `--replay SEED --shorten` shows it as a conversation.
"""
