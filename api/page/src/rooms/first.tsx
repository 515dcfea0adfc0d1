// What a project sees that has no job yet.
import { href } from "../route";
import { Code, Empty } from "../ui";

export function NoneYet() {
  const curl = `curl -s "${new URL("v1/jobs?wait=30", location.href.split("#")[0])}" \\
  -H "Authorization: Bearer $DARKROOM_KEY" -H 'Content-Type: application/json' \\
  -d '{"input": {"model": "bytedance/seedream-5-0-lite-preview",
                 "prompt": "A lighthouse at dawn, as a risograph print"}}'`;
  return (
    <Empty title="No job yet">
      <p>Make the first in the <a href={href("playground")}>playground</a>, or from a terminal:</p>
      <Code text={curl} />
    </Empty>
  );
}
