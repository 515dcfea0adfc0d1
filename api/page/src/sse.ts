// Server-Sent Events by fetch. A browser's EventSource tells neither why it was refused nor that nothing comes any
// more, and does not come back where a proxy answers for a server that restarts.

export interface Event {
  id: string;
  name: string;
  data: string;
}

const SILENCE = 40_000; // ms; a stream says each 15 s that it lives

/** Open a stream, after the event that came last; or return 204 for one that is over, 401 to whom nothing is told. Raises for any other. */
export async function events(path: string, last: string, over: AbortSignal): Promise<AsyncIterable<Event> | number> {
  const silent = new AbortController();
  const signal = AbortSignal.any([over, silent.signal]);
  const headers = { accept: "text/event-stream", ...(last ? { "last-event-id": last } : {}) };
  const timer = setTimeout(() => silent.abort(), SILENCE);
  const answer = await fetch(path, { headers, signal, cache: "no-store" }).finally(() => clearTimeout(timer));
  if (answer.status === 204 || answer.status === 401) return answer.status;
  if (!answer.ok || !answer.body) throw new Error(`the stream was refused: ${answer.status}`);
  return parse(answer.body, silent);
}

async function* parse(body: ReadableStream<Uint8Array>, silent: AbortController): AsyncGenerator<Event> {
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  let text = "";
  for (;;) {
    const timer = setTimeout(() => silent.abort(), SILENCE);
    const { done, value } = await reader.read().finally(() => clearTimeout(timer));
    if (done) return;
    const parts = (text + value).split("\n\n");
    text = parts.pop() ?? "";
    for (const part of parts) {
      const fields = Object.fromEntries(part.split("\n").map((line) => line.split(/: ?(.*)/s, 2)));
      if (fields.data !== undefined) yield { id: fields.id ?? "", name: fields.event ?? "message", data: fields.data };
    }
  }
}
