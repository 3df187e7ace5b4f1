"""Pass requests from an HTTP process to a worker and back: the request table, its batches, and supervision of workers.

This wing replaces LitServe's queues and its monitoring of workers: docs/decisions/2026-11-23-requests-in-a-table.md
says why. LitServe has no public way to replace them, so the service relies on the following parts of it. pyproject.toml
bounds LitServe to the versions that have them; `unit_tests/service/transport/test_litserve*.py` hold each of them to
the installed version.

Requests and answers (`ClassifierServer`, `TableTransport`):

1.  `LitServer.run` calls `_init_manager(num_api_servers)` once, before it starts any other process. We override it.
2.  The constructor calls `LitServer._register_api_endpoints` to add the endpoint of each API, and adds none elsewhere.
    We override it: `service.app` adds a route that asks `TableTransport` itself.
3.  Each HTTP process awaits `LitServer._transport.areceive(HTTP process)` from its start to its end, when it cancels
    it, and asks again only after an answer. We attend to the requests there and never return. `run` calls
    `close(send_sentinel=...)` at its end.
4.  `MessageTransport` is the transport's class. We subclass it.
5.  `FastAPI.response_queue_id` of the server's `app` is the HTTP process's number, from 0. `service.web.image_request`
    and `service.web.admission` read it.
6.  `LitAPI.authorize` replaces LitServe's own check of the key, which `LIT_SERVER_API_KEY` holds. `service.app` reads
    the key, and `service.web.admission` checks it.

Batches (`FairShareLoop`):

7.  A worker calls `LitAPI.setup(device)`, and then `LitLoop.run(lit_api, device, worker, queue, transport, ...)` of
    `LitAPI.loop` again and again. We override `run`. SystemExit, raised there, ends the worker.
8.  `MessageTransport.send` is called by LitServe's own loops alone.
9.  `LitLoop.worker_id` is the worker's number, from 0. With d devices worker n computes on device n modulo d.

Processes (`WorkerSupervisor`, `ConnectionDealer`, `service.app`):

10. `LitServer._monitor_workers` switches LitServe's own monitoring off.
11. `LitServer.inference_workers` lists the workers' processes by number, and
    `launch_single_inference_worker(lit_api, number)` starts one anew.
12. `run` forks the HTTP processes from its own thread, and `_start_server` returns them by number. They have
    `uvicorn_graceful_timeout` seconds to drain, and get the keyword arguments of `run` that LitServe doesn't know, for
    uvicorn.
13. `run` drains on KeyboardInterrupt: it ends the HTTP processes first and then the workers. It raises RuntimeError
    when a worker's setup has raised.
14. `run` calls `_start_server(port, HTTP processes, log level, sockets, kind, ...)` once the first worker is ready,
    with one socket, which is bound and doesn't listen. It passes `sockets` to uvicorn in each HTTP process, where the
    variable LITSERVE_WORKER_ID holds the process's number. We pass the dealer of connections instead.
15. `run` calls `_perform_graceful_shutdown(manager, HTTP processes by number, reason)` at its end, before any process
    is ended. We end the HTTP processes ourselves, and pass an empty dict to it: it ends the workers and the manager.
16. `LitServer.workers_setup_status` has a `WorkerSetupStatus` for each worker, by `predict_` and the worker's number
    for the path `/predict`. `/health` says 200 while all are READY. We set STARTING for a worker that has ended.
"""
