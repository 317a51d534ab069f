/** Test-time augmentation: several views of a face, whose logits are averaged, as by `mien.core.tta`. */

const SHIFT_PX = 3, CROP = 7 / 8, CHUNK = 8;
const REACH: Record<number, number> = { 1: 0, 2: 0, 5: 1, 10: 1, 18: 2 };

/** Planes (n * channels) of `size` x `size` values. */
export interface Batch {
  readonly values: Float32Array;
  readonly n: number;
  readonly channels: number;
  readonly size: number;
}

export type Predict = (batch: Batch) => Promise<Float32Array>;

/** Mean logits (n, C) over the views of normalised faces. */
export async function averageLogits(predict: Predict, faces: Batch, nViews: number, nLabels: number): Promise<Float32Array> {
  const out = new Float32Array(faces.n * nLabels);
  for (let start = 0; start < faces.n; start += CHUNK) {
    const chunk = part(faces, start, Math.min(start + CHUNK, faces.n));
    const shown = viewsOf(chunk, nViews);
    const values = new Float32Array(shown.length * chunk.values.length);
    shown.forEach((view, i) => values.set(view, i * chunk.values.length));
    const logits = await predict({ ...chunk, values, n: shown.length * chunk.n });
    for (let i = 0; i < chunk.n * nLabels; i++) {
      let sum = 0;
      for (let v = 0; v < shown.length; v++) sum += logits[v * chunk.n * nLabels + i]!;
      out[start * nLabels + i] = sum / shown.length;
    }
  }
  return out;
}

export function part(batch: Batch, start: number, end: number): Batch {
  const one = batch.channels * batch.size * batch.size;
  return { ...batch, values: batch.values.subarray(start * one, end * one), n: end - start };
}

function viewsOf(faces: Batch, nViews: number): Float32Array[] {
  const kept = nViews === 12 ? [faces.values, ...corners(faces)] : shifts(faces, nViews);
  const isMirrored = nViews !== 1 && nViews !== 5;
  return isMirrored ? [...kept, ...kept.map((view) => moved(view, faces.size, (y, x) => [y, faces.size - 1 - x]))] : kept;
}

function shifts(faces: Batch, nViews: number): Float32Array[] {
  const reach = REACH[nViews], steps = [-1, 0, 1];
  if (reach === undefined) throw new RangeError(`views must be 1, 2, 5, 10, 12 or 18, got ${nViews}`);
  const last = faces.size - 1, inside = (v: number) => Math.min(Math.max(v, 0), last);
  return steps.flatMap((down) => steps.map((right) => [down, right] as const))
    .filter(([down, right]) => Math.abs(down) + Math.abs(right) <= reach)
    .map(([down, right]) => moved(faces.values, faces.size, (y, x) => [inside(y - SHIFT_PX * down), inside(x - SHIFT_PX * right)]));
}

/** Planes whose value at (y, x) comes from another place. */
function moved(values: Float32Array, size: number, from: (y: number, x: number) => [number, number]): Float32Array {
  const out = new Float32Array(values.length), plane = size * size;
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const [row, column] = from(y, x), to = y * size + x, at = row * size + column;
      for (let start = 0; start < values.length; start += plane) out[start + to] = values[start + at]!;
    }
  }
  return out;
}

/** The centre and the four corners, enlarged to the face's side. */
function corners({ values, size }: Batch): Float32Array[] {
  const spare = size * (1 - CROP), [near, middle, far] = [0, spare / 2, spare];
  const places = [[middle, middle], [near, near], [near, far], [far, near], [far, far]] as [number, number][];
  return places.map(([top, left]) => {
    const out = new Float32Array(values.length), plane = size * size, at = (i: number, start: number) =>
      Math.min(Math.max(start + (i + 0.5) * CROP - 0.5, 0), size - 1);
    for (let start = 0; start < values.length; start += plane) {
      for (let y = 0; y < size; y++) {
        const v = at(y, top), row = Math.floor(v), below = Math.min(row + 1, size - 1), dy = v - row;
        for (let x = 0; x < size; x++) {
          const u = at(x, left), column = Math.floor(u), beside = Math.min(column + 1, size - 1), dx = u - column;
          const value = (r: number, c: number) => values[start + r * size + c]!;
          const above = (1 - dx) * value(row, column) + dx * value(row, beside);
          out[start + y * size + x] = (1 - dy) * above + dy * ((1 - dx) * value(below, column) + dx * value(below, beside));
        }
      }
    }
    return out;
  });
}

/** Logits without the card's share of the prior, divided by the temperature, as probabilities. */
export function toProbs(logits: Float32Array, prior: readonly number[], power: number, temperature: number): number[] {
  const scores = Array.from(logits, (v, i) => (power ? v - power * Math.log(prior[i]!) : v));
  const top = Math.max(...scores), powers = scores.map((v) => Math.exp((v - top) / temperature));
  const total = powers.reduce((sum, v) => sum + v, 0);
  return powers.map((v) => v / total);
}
