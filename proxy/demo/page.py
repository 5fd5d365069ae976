"""The demo's page in a browser: one fetch, one event stream and one WebSocket, each with its result."""

PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Backstay demo</title>
<h1>Backstay demo</h1>
<p>Three ways to the backend, through whatever served this page:</p>
<ul>
  <li>fetch: <output id="fetch">waiting</output>
  <li>event stream: <output id="events">waiting</output>
  <li>WebSocket: <output id="socket">waiting</output>
</ul>
<script>
const show = (id, text) => { document.getElementById(id).value = text }

const create = async () => {
  const reportId = 'val_' + crypto.getRandomValues(new Uint32Array(1))[0]
  const response = await fetch('/api/sessions', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ reportId, view: 'manual' }),
  })
  show('fetch', response.status + ' ' + (await response.json()).reportId)
}
create().catch((error) => show('fetch', String(error)))

const events = new EventSource('/api/events')
events.onmessage = (event) => show('events', 'event ' + event.data)
events.onerror = () => show('events', 'error')

const socket = new WebSocket(location.origin.replace('http', 'ws') + '/api/ws')
socket.onopen = () => socket.send('hello')
socket.onmessage = (event) => show('socket', 'echo ' + event.data)
socket.onerror = () => show('socket', 'error')
</script>
"""
