/** Bars by day, drawn as SVG. The same numbers stand below as a table, for those who do not see bars. */

import type { VNode } from "preact";

import { count, Table } from "../shared/parts";
import type { UsageRow } from "./usage";

const [WIDTH, HEIGHT, FOOT] = [600, 140, 20];
const MOST_DAYS = 366;

interface Props {
  title: string;
  rows: UsageRow[];
  from: string;
  to: string;
  value: (row: UsageRow) => number;
}

export function Chart({ title, rows, from, to, value }: Props): VNode {
  const byDay = new Map(rows.map((row) => [row.group ?? "", value(row)]));
  const days = daysOf(from, to);
  const most = Math.max(1, ...byDay.values());
  const step = WIDTH / Math.max(1, days.length);
  return (
    <figure class="chart">
      <figcaption>
        {title}, at most {count.format(Math.max(0, ...byDay.values()))}
      </figcaption>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT + FOOT}`} role="img" aria-label={title}>
        <line x1={0} x2={WIDTH} y1={HEIGHT} y2={HEIGHT} />
        {days.map((day, at) => {
          const height = ((byDay.get(day) ?? 0) / most) * (HEIGHT - 4);
          return (
            <rect x={at * step + 1} width={Math.max(1, step - 2)} y={HEIGHT - height} height={height}>
              <title>{`${day}: ${count.format(byDay.get(day) ?? 0)}`}</title>
            </rect>
          );
        })}
        <text x={0} y={HEIGHT + 15}>
          {days[0]}
        </text>
        <text x={WIDTH} y={HEIGHT + 15} text-anchor="end">
          {days.at(-1)}
        </text>
      </svg>
      <details>
        <summary>As a table</summary>
        <Table label={title} head={["Day", "Number"]}>
          {[...byDay].map(([day, number]) => (
            <tr>
              <td>{day}</td>
              <td>{count.format(number)}</td>
            </tr>
          ))}
        </Table>
      </details>
    </figure>
  );
}

function daysOf(from: string, to: string): string[] {
  const days: string[] = [];
  const last = Date.parse(to);
  for (let at = Date.parse(from); at <= last && days.length < MOST_DAYS; at += 86_400_000) {
    days.push(new Date(at).toISOString().slice(0, 10));
  }
  return days;
}
