// What a project sees that has no job yet.
import { may } from "../api";
import { curl } from "../format";
import { href } from "../route";
import { Code, Empty } from "../ui";

const FIRST = `-H 'Content-Type: application/json' \\
  -d '{"input": {"model": "bytedance/seedream-5-0-lite-preview",
                 "prompt": "A lighthouse at dawn, as a risograph print"}}'`;

export function NoneYet() {
  return (
    <Empty title="No job yet">
      {may("jobs:write") ? (
        <>
          <p>Make the first in the <a href={href("playground")}>playground</a>, or from a terminal:</p>
          <Code text={curl("v1/jobs?wait=30", FIRST)} />
        </>
      ) : (
        <p>A key with the scope <code>jobs:write</code> makes the first.</p>
      )}
    </Empty>
  );
}
