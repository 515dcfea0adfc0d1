// A form made of the catalog's rules, the price while it is filled in, and the same request as code.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ask, may, onceOnly, Refused, session } from "../api";
import { cost, dollars, number } from "../format";
import type { Job, Model, ModelList, Quote } from "../openapi";
import { go, href, isId, place, refine } from "../route";
import { Empty, Failure, Head, Section, useLoaded } from "../ui";
import { AsCode } from "./ascode";
import { carried, Field, type Rules, type Values } from "./field";

const QUOTED_AFTER = 400; // ms without a change

export function PlaygroundRoom() {
  const { from: asked, model } = place.value.query;
  const from = asked && isId(asked) ? asked : undefined;
  const models = useLoaded<ModelList>((signal) => ask("v1/models", { signal }), []);
  const old = useLoaded<Job | null>((signal) => (from ? ask(`v1/jobs/${from}`, { signal }) : Promise.resolve(null)), [from]);
  const ready = models.value && old.value !== undefined && old.value?.id === from; // not what was loaded before
  const chosen = models.value?.data.find((each) => each.id === (model ?? old.value?.input?.model)) ?? models.value?.data[0];
  return (
    <>
      <Head title={from ? "Edit and run again" : "Playground"} lead={from ? <>A new job, from <a href={href("jobs", from)}>{from}</a>.</> : "Try a model; the price is told before anything is paid."} />
      <Failure of={models.failed ?? old.failed} />
      {ready && model && chosen?.id !== model && <div class="note bad" role="alert"><p>{model} cannot be called: {models.value?.unavailable.find((each) => each.id === model)?.reason ?? "there is no such model."}</p></div>}
      {ready && chosen && <Form key={from ?? ""} model={chosen} models={models.value?.data ?? []} old={old.value ?? null} />}
      {ready && !chosen && <Empty title="No model can be called"><p>The catalog is empty.</p></Empty>}
    </>
  );
}

/** What was typed and is not sent: it outlives the room and a session that ends, for the same project. */
let draft: { project: string | null; values: Values } | undefined;
const drafted = (): Values => (draft && draft.project === session.value?.project.id ? draft.values : {});

interface FormProps {
  model: Model;
  models: Model[];
  old: Job | null;
}

function Form({ model, models, old }: FormProps) {
  const rules = model.rules.input as Rules;
  const [values, setValues] = useState<Values>(() => ({ ...(old ? old.input : carried(drafted(), rules)), model: model.id }));
  const [failed, setFailed] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const intent = useRef(onceOnly());
  const input = useMemo(() => Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined && value !== "")), [values]);
  const quote = useQuote(input, Boolean(old));
  const wrong = failed instanceof Refused ? failed.problem.errors ?? [] : quote.problems;
  if (values.model !== model.id) {
    intent.current = onceOnly();
    setValues({ ...carried(values, rules), model: model.id });
  }
  useEffect(() => {
    if (!old) draft = { project: session.value?.project.id ?? null, values };
  }, [values]);
  function change(name: string, value: unknown) {
    intent.current = onceOnly(); // another body is another intent
    setFailed(undefined);
    setValues((before) => ({ ...before, [name]: value }));
  }
  async function submit() {
    setBusy(true);
    setFailed(undefined);
    try {
      const body = old ? { input: changed(old, input) } : { input };
      const made = await ask<Job>(old ? `v1/jobs/${old.id}/retry` : "v1/jobs", { body, headers: intent.current });
      draft = undefined;
      go(href("jobs", made.id));
    } catch (refused) {
      setFailed(refused);
      setBusy(false);
    }
  }
  const fields = Object.entries(rules.properties).filter(([name]) => name !== "model");
  const first = fields.filter(([name]) => rules.required?.includes(name) || name === "image_urls");
  const rest = fields.filter((each) => !first.includes(each));
  return (
    <div class="pair form">
      <form class="fields tall" aria-label="Request" onSubmit={(event) => { event.preventDefault(); void submit(); }}>
        <label class="field">
          <span class="label">Model</span>
          <select value={model.id} onChange={(event) => refine({ model: event.currentTarget.value })}>
            {models.map((each) => <option key={each.id} value={each.id}>{each.title} · {each.id}</option>)}
          </select>
        </label>
        {[...first, ...rest].map(([name, rule]) => (
          <Field key={`${model.id} ${name}`} name={name} rule={rule} rules={rules} value={values[name]} change={(value) => change(name, value)} required={rules.required?.includes(name) ?? false}
            wrong={wrong.filter((each) => each.pointer === `/input/${name}` || each.pointer.startsWith(`/input/${name}/`)).map((each) => each.message)} />
        ))}
        <Failure of={failed} />
        <div class="submit">
          <Price quote={quote.value} fallback={model.price.credits} />
          <button type="submit" class="main" disabled={busy || !may("jobs:write")} aria-busy={busy}>{old ? "Run again" : "Make the picture"}</button>
        </div>
        {!may("jobs:write") && <p class="dim">This key may not submit: it lacks <code>jobs:write</code>.</p>}
      </form>
      <Section title="The same as code">
        <AsCode input={input} />
      </Section>
    </div>
  );
}

/** What a retry changes: what is new, and null for what was left out. */
function changed(old: Job, input: Values): Values {
  const before = old.input ?? {};
  const fresh = Object.entries(input).filter(([name, value]) => JSON.stringify(before[name]) !== JSON.stringify(value));
  const dropped = Object.keys(before).filter((name) => !(name in input)).map((name) => [name, null]);
  return Object.fromEntries([...fresh, ...dropped]);
}

function Price({ quote, fallback }: { quote: Quote | undefined; fallback: number }) {
  const estimated = quote?.estimated.credits ?? fallback;
  return (
    <p class="price" aria-live="polite">
      <strong>{dollars(estimated)}</strong> <span class="dim">{number(estimated)} credits</span>
      {quote && <span class="dim small block">at most {cost(quote.worst_case.credits)}, if calls lose their answers · price by the {quote.price.source}</span>}
    </p>
  );
}

const SQUARE = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAEAAAABAAQAAAACCEkxzAAAAD0lEQVR42mNgGAWjgHwAAAJAAAHgTR1EAAAAAElFTkSuQmCC"; // 64 × 64, black

/** What is quoted: in place of pictures that lie in the request, and would be sent at each pause in typing, a small one. */
function light(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(light);
  return typeof value === "string" && value.startsWith("data:image/") && value.length > SQUARE.length ? SQUARE : value;
}

function useQuote(input: Values, skip: boolean) {
  const [told, setTold] = useState<{ value?: Quote; problems: { pointer: string; message: string }[] }>({ problems: [] });
  const written = JSON.stringify(Object.fromEntries(Object.entries(input).map(([name, value]) => [name, light(value)])));
  useEffect(() => {
    if (skip || !input.prompt) return;
    const stop = new AbortController();
    const timer = setTimeout(async () => {
      try {
        setTold({ value: await ask<Quote>("v1/quotes", { body: { input: JSON.parse(written) }, signal: stop.signal }), problems: [] });
      } catch (refused) {
        if (refused instanceof Refused) setTold({ problems: refused.problem.errors ?? [] });
      }
    }, QUOTED_AFTER);
    return () => { clearTimeout(timer); stop.abort(); };
  }, [written, skip]);
  return told;
}
