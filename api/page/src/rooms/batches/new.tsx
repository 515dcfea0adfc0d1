// From a file to a batch: chosen or dropped, judged row by row for nothing, quoted, and only then paid.
import type { ComponentProps } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { ask, onceOnly, query, Refused } from "../../api";
import { bytes, CREDITS_PER_USD, curl, dollars, LEAST_USD, number, plural } from "../../format";
import type { BatchQuote, TakenBatch } from "../../openapi";
import { go, href, pick } from "../../route";
import { Button, Code, Failure, None, Section, Sum, Table } from "../../ui";

const KINDS: Record<string, string> = { csv: "text/csv", tsv: "text/csv", txt: "text/csv", ndjson: "application/x-ndjson", jsonl: "application/x-ndjson", json: "application/json" };
const JUDGED_AFTER = 400; // ms without a change
const EXAMPLE = `custom_id,prompt,image_size,metadata.sku
bike-1,A red bicycle on white,2K,B-17
bike-2,"A blue bicycle, seen from above",2048x2048,B-18`;

interface Terms {
  usd: string; // the most that all may cost
  failures: string;
  customer: string;
  skip: boolean;
}

type Wrong = Partial<Record<keyof Terms, string>>; // what the browser has against what was typed

interface Mistake {
  row?: number;
  custom_id?: string | null;
  pointer: string;
  message: string;
}

/** What a file would be as a batch: its quote, or the refusal with its mistakes. */
interface Judged {
  quote?: BatchQuote;
  failed?: unknown;
  errors: Mistake[];
  bad: number;
}

export function NewBatch() {
  const [file, setFile] = useState<File | null>(null);
  const [over, setOver] = useState(false);
  const picker = useRef<HTMLInputElement>(null);
  const take = (files: FileList | null | undefined) => setFile(files?.[0] ?? null);
  if (file) return <Review file={file} leave={() => setFile(null)} />;
  return (
    <div class="drop tall" data-over={over ? "" : undefined}
      onDragOver={(event) => { event.preventDefault(); setOver(true); }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => { event.preventDefault(); setOver(false); take(event.dataTransfer?.files); }}>
      <div class="line">
        <button type="button" class="main" onClick={() => picker.current?.click()}>Choose a file</button>
        <span class="dim">or drop it here: CSV or NDJSON, a row for each picture. You see what it costs before anything is paid.</span>
      </div>
      <details class="aside">
        <summary>What a file looks like</summary>
        <Code text={EXAMPLE} what="Example" />
        <p class="dim small under">The same from a terminal; <code>dry_run=true</code> judges the file and pays nothing:</p>
        <div class="under"><Code text={curl("v1/batches?dry_run=true", "-H 'Content-Type: text/csv' --data-binary @rows.csv")} /></div>
      </details>
      <input ref={picker} class="hidden" type="file" accept=".csv,.tsv,.txt,.ndjson,.jsonl,.json" tabIndex={-1} aria-label="File of rows"
        onChange={(event) => { take(event.currentTarget.files); event.currentTarget.value = ""; }} />
    </div>
  );
}

function asked(terms: Terms, more: Record<string, string>): string {
  const most = Math.round(Number(terms.usd) * CREDITS_PER_USD);
  return query({ ...more, max_cost: most > 0 ? most : "", stop_on_failures: terms.failures, customer: terms.customer, invalid: terms.skip ? "skip" : "" });
}

const kindOf = (file: File): string => pick(KINDS, file.name.split(".").pop()?.toLowerCase()) ?? "text/csv";

async function judge(file: File, terms: Terms, signal: AbortSignal): Promise<Judged> {
  try {
    const quote = await ask<BatchQuote>(`v1/batches${asked(terms, { dry_run: "true" })}`, { file, headers: { "content-type": kindOf(file) }, signal });
    return { quote, errors: quote.errors ?? [], bad: quote.invalid };
  } catch (failed) {
    if (signal.aborted) throw failed;
    const problem = failed instanceof Refused ? failed.problem : {};
    return { failed, errors: problem.errors ?? [], bad: Number((problem as { invalid?: number }).invalid ?? 0) };
  }
}

function Review({ file, leave }: { file: File; leave: () => void }) {
  const [terms, setTerms] = useState<Terms>({ usd: "", failures: "", customer: "", skip: false });
  const [judged, setJudged] = useState<Judged | null>(null);
  const [failed, setFailed] = useState<unknown>();
  const [wrong, setWrong] = useState<Wrong>({});
  const sound = !Object.values(wrong).some(Boolean);
  const intent = useRef(onceOnly());
  useEffect(() => {
    if (!sound) return;
    intent.current = onceOnly(); // other terms are another batch
    const mine = new AbortController();
    const timer = setTimeout(() => void judge(file, terms, mine.signal).then(setJudged, () => undefined), judged ? JUDGED_AFTER : 0);
    return () => { clearTimeout(timer); mine.abort(); };
  }, [file, terms, sound]);
  async function start() {
    try {
      const made = await ask<TakenBatch>(`v1/batches${asked(terms, {})}`, { file, headers: { "content-type": kindOf(file), ...intent.current } });
      go(href("batches", made.id));
    } catch (refused) {
      setFailed(refused);
    }
  }
  const quote = judged?.quote;
  const rows = judged?.errors.filter((each) => each.row) ?? [];
  return (
    <div class="review">
      <div class="bar"><strong class="break">{file.name}</strong><span class="dim">{bytes(file.size)} <button type="button" class="quiet" onClick={leave}>Another file</button></span></div>
      {!judged && <p class="dim" role="status">Every row is being judged…</p>}
      {judged && (
        <>
          {quote && <Quote of={quote} />}
          {!quote && rows.length > 0 && <div class="note bad" role="alert"><p>{plural(judged.bad || rows.length, "row")} cannot be used, and nothing was created. Correct them in the file, or leave them out.</p></div>}
          {!quote && !rows.length && <Failure of={judged.failed} />}
          {rows.length > 0 && <Mistakes of={rows} all={judged.bad} />}
          <TermsOf terms={terms} change={setTerms} wrong={wrong} judge={setWrong} bad={judged.bad > 0 || terms.skip} />
          <Failure of={failed} />
          <div class="submit">
            <div class="price">{quote ? <><strong>{dollars(quote.estimated)}</strong> <span class="dim">{number(quote.estimated)} credits for {plural(quote.total, "picture")}, as a rule</span></> : <span class="dim">Nothing is paid yet.</span>}</div>
            <Button kind="main" disabled={!sound || !quote || quote.total === 0} does={start}>{quote ? `Start ${plural(quote.total, "row")}` : "Start"}</Button>
          </div>
        </>
      )}
    </div>
  );
}

function Quote({ of }: { of: BatchQuote }) {
  return (
    <dl class="figures">
      <div><dt>Good rows</dt><dd>{number(of.total)}</dd><dd class="dim">{of.invalid ? `${number(of.invalid)} are left out` : "every row can be used"}</dd></div>
      <Sum name="They cost" credits={of.estimated} note="if each is made once" />
      <Sum name="Held from the start" credits={of.held} note={of.held < of.estimated ? "the others wait for what is left over" : "what is not needed comes back"} />
      <Sum name="At most" credits={of.max_cost || null} note={of.max_cost ? "never more, whatever is tried again" : "no limit is set: see below"} />
    </dl>
  );
}

function Mistakes({ of, all }: { of: Mistake[]; all: number }) {
  return (
    <Section title="What is wrong" aside={<span class="dim small">{all > of.length ? `the first ${number(of.length)} mistakes, in ${plural(all, "row")}` : plural(of.length, "mistake")}</span>}>
      <Table caption="Mistakes" stack head={[<span class="right">Row</span>, "Name", "Field", "What is wrong"]}>
        {of.map((each, index) => (
          <tr key={index}>
            <td class="right" data-name="Row">{each.row}</td>
            <td class="break" data-name="Name">{each.custom_id ?? <None />}</td>
            <td><code>{each.pointer || "row"}</code></td>
            <td class="wide">{each.message}</td>
          </tr>
        ))}
      </Table>
    </Section>
  );
}

interface TermsProps {
  terms: Terms;
  change: (terms: Terms) => void;
  wrong: Wrong;
  judge: (wrong: Wrong) => void;
  bad: boolean;
}

function TermsOf({ terms, change, wrong, judge, bad }: TermsProps) {
  const field = (name: "usd" | "failures" | "customer", label: string, rules: ComponentProps<"input">) => (
    <label class="field" data-wrong={wrong[name] ? "" : undefined}>
      <span class="label">{label}</span>
      <input {...rules} value={terms[name]} aria-invalid={Boolean(wrong[name])} onInput={({ currentTarget: input }) => {
        judge({ ...wrong, [name]: input.validationMessage });
        change({ ...terms, [name]: input.value.trim() });
      }} />
      {wrong[name] && <span class="wrong" role="alert">{wrong[name]}</span>}
    </label>
  );
  return (
    <div class="fields terms">
      {field("usd", "At most, in US dollars", { type: "number", min: LEAST_USD, step: "any", placeholder: "no limit" })}
      {field("failures", "Pause after so many failures", { type: "number", min: 1, step: 1, placeholder: "never" })}
      {field("customer", "Customer by default", { maxLength: 64, placeholder: "none" })}
      {bad && <label class="check"><input type="checkbox" checked={terms.skip} onChange={(event) => change({ ...terms, skip: event.currentTarget.checked })} /> Leave out the rows that cannot be used</label>}
    </div>
  );
}
