// References: dropped, chosen, or as links. A dropped file goes inside the request; its preview is drawn here.
import { useEffect, useRef, useState } from "preact/hooks";
import { KeptFiles } from "./kept";

interface Props {
  id: string;
  described: string;
  value: string[];
  most: number;
  change: (value: string[] | undefined) => void;
}

function read(file: File): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

/** Say which files are left out, and why. */
function leaveOut(files: File[], why: string): string {
  if (!files.length) return "";
  return `${files.map((each) => each.name).join(", ")} ${files.length === 1 ? "is" : "are"} left out: ${why}.`;
}

export function Drop({ id, described, value, most, change }: Props) {
  const [link, setLink] = useState("");
  const [over, setOver] = useState(false);
  const picker = useRef<HTMLInputElement>(null);
  const [leftOut, setLeftOut] = useState("");
  const full = value.length >= most;
  async function add(files: FileList | File[]) {
    const pictures = [...files].filter((each) => each.type.startsWith("image/"));
    const others = [...files].filter((each) => !pictures.includes(each));
    const taken = pictures.slice(0, most - value.length);
    setLeftOut([leaveOut(others, "no image"), leaveOut(pictures.slice(taken.length), `more than the ${most} that the model takes`)].join(" ").trim());
    if (taken.length) change([...value, ...(await Promise.all(taken.map(read)))]);
  }
  function addLink() {
    if (!link.trim()) return;
    if (full) return setLeftOut(`The link is left out: it is more than the ${most} that the model takes.`);
    change([...value, link.trim()]);
    setLink("");
  }
  const without = (index: number) => {
    const left = value.filter((_, each) => each !== index);
    change(left.length ? left : undefined);
  };
  // A link that was typed is meant, whoever does not press the button: a form is sent once its field is left.
  return (
    <div class="drop" data-over={over ? "" : undefined}
      onDragOver={(event) => { event.preventDefault(); setOver(true); }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => { event.preventDefault(); setOver(false); if (event.dataTransfer) void add(event.dataTransfer.files); }}>
      {value.length > 0 && (
        <ul class="references">
          {value.map((url, index) => (
            <li key={`${index}${url.length}`}>
              <div class="reference">
                <Preview url={url} index={index} />
                <button type="button" class="quiet" aria-label={`Remove reference ${index + 1}`} onClick={() => without(index)}>Remove</button>
              </div>
            </li>
          ))}
        </ul>
      )}
      <div class="line">
        <button type="button" onClick={() => picker.current?.click()} disabled={full}>Choose files</button>
        <span class="dim">or drop them here, or</span>
        <input id={id} aria-describedby={described} type="url" placeholder="https://…" value={link} onInput={(event) => setLink(event.currentTarget.value)}
          onBlur={(event) => { if (event.currentTarget.validity.valid) addLink(); }}
          onKeyDown={(event) => { if (event.key === "Enter") { event.preventDefault(); addLink(); } }} />
        <button type="button" onClick={addLink} disabled={!link.trim() || full}>Add link</button>
        <span class="dim small">{value.length} of {most}</span>
      </div>
      <p class="reason small" role="status">{leftOut}</p>
      <KeptFiles value={value} most={most}
        add={(names) => { const fresh = names.filter((each) => !value.includes(each)).slice(0, most - value.length); if (fresh.length) change([...value, ...fresh]); }}
        drop={(name) => { if (value.includes(name)) without(value.indexOf(name)); }} />
      <input ref={picker} class="hidden" type="file" accept="image/*" multiple tabIndex={-1} aria-label="Reference files"
        onChange={(event) => { if (event.currentTarget.files) void add(event.currentTarget.files); event.currentTarget.value = ""; }} />
    </div>
  );
}

const SIDE = 96;

/** Draw a file's picture on a canvas: the page's policy shows no image but the server's own. */
function Preview({ url, index }: { url: string; index: number }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const inline = /^data:(image\/[a-z]+);base64,/.exec(url);
  useEffect(() => {
    if (!inline) return;
    const raw = Uint8Array.from(atob(url.slice(inline[0].length)), (letter) => letter.charCodeAt(0));
    createImageBitmap(new Blob([raw], { type: inline[1] ?? "" })).then((bitmap) => {
      const on = canvas.current;
      if (!on) return;
      const scale = Math.max((2 * SIDE) / bitmap.width, (2 * SIDE) / bitmap.height);
      const [width, height] = [bitmap.width * scale, bitmap.height * scale];
      on.getContext("2d")?.drawImage(bitmap, SIDE - width / 2, SIDE - height / 2, width, height);
    }, () => undefined);
  }, [url]);
  if (inline) return <canvas ref={canvas} width={2 * SIDE} height={2 * SIDE} role="img" aria-label={`Reference ${index + 1}`} />;
  if (/^file_/.test(url)) return <img src={`v1/files/${url}/content`} alt={`Reference ${index + 1}`} />;
  return <span class="ellipsis" title={url.slice(0, 300)}>{url.startsWith("data:") ? `kept reference ${index + 1}` : url}</span>;
}
