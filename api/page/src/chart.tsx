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
  const top = roundUp(Math.max(...of.map((each) => each.value)));
  const width = 100 / of.length;
  return (
    <figure class="chart">
      <div class="axis" aria-hidden="true"><span>{written(top)}</span><span>{written(top / 2)}</span><span>0</span></div>
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
