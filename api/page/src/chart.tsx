// Bars, drawn as SVG: sharp at every size, in the colours of the theme, and read aloud by their table.
interface Bar {
  name: string;
  value: number;
  kind?: string;
  title: string;
}

const HEIGHT = 120;
const STEPS = [1, 2, 5, 10];

/** Return the next round number: the top of an axis. */
function roundUp(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return (STEPS.find((step) => step * power >= value) ?? 10) * power;
}

export function Bars({ of, label, written, marks }: { of: Bar[]; label: string; written: (value: number) => string; marks?: (name: string, index: number) => string }) {
  const most = Math.max(...of.map((each) => each.value));
  const top = roundUp(most);
  const width = 100 / of.length;
  const level = (value: number) => <span>{most > 0 && written(value)}</span>; // an empty chart has no scale
  return (
    <figure class="chart">
      <div class="axis" aria-hidden="true">{level(top)}{level(top / 2)}<span>0</span></div>
      <div class="plot">
        <svg viewBox={`0 0 100 ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={label}>
          <line x1="0" x2="100" y1="0.5" y2="0.5" /><line x1="0" x2="100" y1={HEIGHT / 2} y2={HEIGHT / 2} /><line x1="0" x2="100" y1={HEIGHT - 0.5} y2={HEIGHT - 0.5} />
          {of.map((each, index) => {
            const height = (each.value / top) * HEIGHT;
            return <rect key={`${each.name}${index}`} data-kind={each.kind} x={index * width + width * 0.12} width={width * 0.76} y={HEIGHT - height} height={height}><title>{each.title}</title></rect>;
          })}
        </svg>
        {marks && <div class="marks" aria-hidden="true">{of.map((each, index) => <span key={each.name}>{marks(each.name, index)}</span>)}</div>}
      </div>
    </figure>
  );
}

interface Level {
  name: string;
  used: number | null; // null where nothing is known
  most: number | null;
  title: string;
}

/** How much of something that changes was used: bars below a line, which breaks where nothing is known. */
export function Levels({ of, label, marks }: { of: Level[]; label: string; marks: (index: number) => string }) {
  const top = roundUp(Math.max(...of.map((each) => Math.max(each.most ?? 0, each.used ?? 0))));
  const width = 100 / of.length;
  const height = (value: number) => HEIGHT - (value / top) * HEIGHT;
  const line = of.map((each, index) => {
    if (each.most === null) return "";
    const joined = index > 0 && of[index - 1]?.most !== null;
    return `${joined ? "L" : "M"}${index * width} ${height(each.most)}H${(index + 1) * width}`;
  });
  return (
    <figure class="chart">
      <div class="axis" aria-hidden="true"><span>{top}</span><span>{top / 2}</span><span>0</span></div>
      <div class="plot">
        <svg viewBox={`0 0 100 ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={label}>
          <line x1="0" x2="100" y1="0.5" y2="0.5" /><line x1="0" x2="100" y1={HEIGHT / 2} y2={HEIGHT / 2} /><line x1="0" x2="100" y1={HEIGHT - 0.5} y2={HEIGHT - 0.5} />
          {of.map((each, index) => each.used !== null && <rect key={each.name} x={index * width + width * 0.12} width={width * 0.76} y={height(each.used)} height={HEIGHT - height(each.used)} />)}
          <path d={line.join("")} />
          {of.map((each, index) => <rect key={each.name} class="over" x={index * width} width={width} y="0" height={HEIGHT}><title>{each.title}</title></rect>)}
        </svg>
        <div class="marks few" aria-hidden="true">{of.map((each, index) => <span key={each.name}>{marks(index)}</span>)}</div>
      </div>
    </figure>
  );
}
