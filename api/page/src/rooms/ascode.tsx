// The request of the form as somebody would write it; an inline reference is shortened, a key is a variable.
import { useState } from "preact/hooks";
import { Code } from "../ui";
import type { Values } from "./field";

const LANGUAGES = ["curl", "Python", "JavaScript"] as const;
type Language = (typeof LANGUAGES)[number];

function shortened(value: unknown): unknown {
  if (typeof value === "string" && value.startsWith("data:") && value.length > 96) return `${value.slice(0, 48)}…`;
  if (Array.isArray(value)) return value.map(shortened);
  return value;
}

const indented = (text: string, by: string) => text.replaceAll("\n", `\n${by}`);

function python(value: unknown, by = ""): string {
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null || value === undefined) return "None";
  if (Array.isArray(value)) return `[${value.map((each) => python(each, by)).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = `${by}    `;
  const lines = Object.entries(value).map(([name, each]) => `${inner}${JSON.stringify(name)}: ${python(each, inner)},`);
  return `{\n${lines.join("\n")}\n${by}}`;
}

function write(language: Language, input: unknown): string {
  const url = new URL("v1/jobs?wait=60", location.href.split("#")[0]).href;
  const body = JSON.stringify({ input }, null, 2);
  if (language === "curl")
    return `curl -s '${url}' \\\n  -H "Authorization: Bearer $DARKROOM_KEY" \\\n  -H 'Content-Type: application/json' \\\n  -H "Idempotency-Key: $(uuidgen)" \\\n  -d '${body.replaceAll("'", "'\\''")}'`;
  if (language === "Python")
    return `import os, uuid, httpx\n\njob = httpx.post(\n    "${url}",\n    headers={\n        "Authorization": f"Bearer {os.environ['DARKROOM_KEY']}",\n        "Idempotency-Key": str(uuid.uuid4()),\n    },\n    json={"input": ${python(input, "    ")}},\n    timeout=75,\n).raise_for_status().json()\nprint(job["status"], job["result"] and job["result"]["data"][0]["url"])`;
  return `const answer = await fetch("${url}", {\n  method: "POST",\n  headers: {\n    Authorization: \`Bearer \${process.env.DARKROOM_KEY}\`,\n    "Content-Type": "application/json",\n    "Idempotency-Key": crypto.randomUUID(),\n  },\n  body: JSON.stringify(${indented(body, "  ")}),\n});\nconst job = await answer.json();\nconsole.log(job.status, job.result?.data[0].url);`;
}

export function AsCode({ input }: { input: Values }) {
  const [language, setLanguage] = useState<Language>("curl");
  const shown = Object.fromEntries(Object.entries(input).map(([name, value]) => [name, shortened(value)]));
  return (
    <>
      <div class="switch" role="group" aria-label="Language">
        {LANGUAGES.map((each) => (
          <button key={each} type="button" aria-pressed={each === language} onClick={() => setLanguage(each)}>{each}</button>
        ))}
      </div>
      <Code text={write(language, shown)} what={language} wrap />
    </>
  );
}
