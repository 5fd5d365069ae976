"""The elements of HTTP/1.1 messages that inputs are built from."""

HTTP = (
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b": ", b":", b" ", b"\t", b"\0", b"\x0b", b"\x7f", b"\xe9", b",", b";", b'"',
    b"GET / HTTP/1.1\r\n", b"POST /x HTTP/1.1\r\n", b"HEAD ", b"OPTIONS * HTTP/1.1\r\n", b"FROB ", b"CONNECT a:1 ",
    b"HTTP/1.0", b"HTTP/1.1", b"HTTP/1.2", b"HTTP/2.0", b"http://a/b", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 204 \r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 304\r\n", b"HTTP/1.1 101 S\r\n", b"HTTP/1.1 600 \r\n",
    b"Host: a\r\n", b"Host: [::1]:80\r\n", b"Host:\r\n", b"Content-Length: 5\r\n", b"Content-Length: 5, 5\r\n",
    b"Content-Length: 0\r\n", b"Content-Length: 999999999999999999\r\n", b"Content-Length: +5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding: chunked, a\r\n",
    b"transfer-encoding:\tchunked\r\n", b"Transfer-Encoding: Chunked \r\n", b"Connection: close\r\n",
    b"Connection: keep-alive, Upgrade\r\n", b"Upgrade: websocket\r\n", b"Expect: 100-continue\r\n", b"Expect: x\r\n",
    b"5\r\nhello\r\n", b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"000", b"ffffffffffffffff", b"0x5", b"5;a=b\r\n",
    b"X-A: b\r\n c\r\n", b"X-A: b\r\n", b"Trailer: X\r\n",
)  # fmt: skip
