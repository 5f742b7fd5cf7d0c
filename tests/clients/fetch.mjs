// A client with nothing but fetch and a ReadableStream, as a browser or Node has them. Prints what it saw as JSON.
const [url, key, body] = process.argv.slice(2);

const response = await fetch(url, {
  method: body === undefined ? "GET" : "POST",
  headers: { "X-Engine-Key": key, "Content-Type": "application/json" },
  body,
});
const reader = response.body.getReader();
const decoder = new TextDecoder();
let buffer = "";
let text = "";
const events = [];
for (;;) {
  const { done, value } = await reader.read();
  if (done) break;
  buffer += decoder.decode(value, { stream: true });
  const frames = buffer.split("\n\n");
  buffer = frames.pop();
  for (const frame of frames) {
    const lines = Object.fromEntries(frame.split("\n").map((line) => line.split(/: (.*)/s).slice(0, 2)));
    const data = JSON.parse(lines.data);
    events.push({ id: Number(lines.id), event: lines.event });
    if (lines.event === "text_delta") text += data.text;
  }
}
console.log(JSON.stringify({ status: response.status, left: buffer, events, text }));
