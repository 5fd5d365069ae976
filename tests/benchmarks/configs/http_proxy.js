// node's http-proxy: access log, request id, kept-alive upstream connections. It has no retries.
const { randomUUID } = require("node:crypto");
const { createWriteStream } = require("node:fs");
const http = require("node:http");
const proxy = require("http-proxy").createProxyServer({
  target: "http://127.0.0.1:@BACKEND@",
  agent: new http.Agent({ keepAlive: true, maxFreeSockets: @IDLE@ }),
  xfwd: true,
});
const log = createWriteStream("@FOLDER@/access.log");
proxy.on("error", (error, request, response) => {
  if (!response.headersSent) response.writeHead(502);
  response.end();
});
const server = http.createServer((request, response) => {
  const began = performance.now();
  const id = (request.headers["x-request-id"] ??= randomUUID());
  response.on("finish", () => {
    const ts = new Date().toISOString();
    const { method, url } = request;
    log.write(JSON.stringify({ ts, method, url, status: response.statusCode, ms: performance.now() - began, id }) + "\n");
  });
  proxy.web(request, response);
});
server.keepAliveTimeout = 75000;
server.listen({ host: "127.0.0.1", port: @PORT@, backlog: 4096 });
