// Prometheus's text format, and what can be told from its counters, gauges and histograms over time.

const kLine = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const kLabel = /([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"/g;

function labelsOf(text) {
  const labels = {};
  for (const [, name, value] of (text ?? "").matchAll(kLabel)) {
    labels[name] = value.replace(/\\(.)/g, (_, mark) => (mark === "n" ? "\n" : mark));
  }
  return labels;
}

// A map from a name to its series: [{labels, value}].
export function parseMetrics(text) {
  const metrics = new Map();
  for (const line of text.split("\n")) {
    if (line.startsWith("#")) continue;
    const found = kLine.exec(line);
    if (!found) continue;
    const value = Number(found[3].replace("Inf", "Infinity"));
    if (!metrics.has(found[1])) metrics.set(found[1], []);
    metrics.get(found[1]).push({ labels: labelsOf(found[2]), value });
  }
  return metrics;
}

// What the server said at one time. `model`: only what carries that label; nothing for all.
export class Sample {
  constructor(time, metrics, model) {
    this.time = time;
    this.metrics = metrics;
    this.model = model;
  }

  series(name) {
    const all = this.metrics.get(name) ?? [];
    return this.model ? all.filter(({ labels }) => (labels.model ?? this.model) === this.model) : all;
  }

  // The sum over all series of a name; nothing if there is none.
  value(name) {
    const series = this.series(name);
    return series.length ? series.reduce((sum, { value }) => sum + value, 0) : null;
  }

  // Sums by what `key` makes of the labels.
  sums(name, key) {
    const sums = new Map();
    for (const { labels, value } of this.series(name)) {
      const at = key(labels);
      sums.set(at, (sums.get(at) ?? 0) + value);
    }
    return sums;
  }
}

// How much a counter has grown. A server that was started again begins at zero.
const growth = (before, after) => (after >= before ? after - before : after);

export function increase(before, after, name) {
  const [from, to] = [before.value(name), after.value(name)];
  return from === null || to === null ? null : growth(from, to);
}

export function rate(before, after, name) {
  const grown = increase(before, after, name);
  return grown === null ? null : grown / (after.time - before.time);
}

// Rates by what `key` makes of the labels.
export function ratesBy(before, after, name, key) {
  const old = before.sums(name, key);
  const rates = new Map();
  for (const [at, value] of after.sums(name, key)) {
    rates.set(at, growth(old.get(at) ?? 0, value) / (after.time - before.time));
  }
  return rates;
}

// The quantile q of what a histogram has counted between two samples, even within a bucket; nothing if it counted nothing.
export function quantile(before, after, name, q) {
  const bound = (labels) => Number((labels.le ?? "").replace("Inf", "Infinity"));
  const old = before.sums(`${name}_bucket`, bound);
  const buckets = [...after.sums(`${name}_bucket`, bound)].sort(([a], [b]) => a - b);
  const total = (sums) => [...sums.values()].reduce((most, value) => Math.max(most, value), 0);
  const restarted = total(new Map(buckets)) < total(old);
  let [lowerBound, lowerCount] = [0, 0];
  const counts = buckets.map(([le, count]) => [le, count - (restarted ? 0 : (old.get(le) ?? 0))]);
  const rank = q * (counts.at(-1)?.[1] ?? 0);
  if (!(rank > 0)) return null;
  for (const [le, count] of counts) {
    if (count >= rank) {
      // Beyond the last bound nothing is known but that bound.
      if (le === Infinity) return lowerBound;
      return lowerBound + ((le - lowerBound) * (rank - lowerCount)) / (count - lowerCount);
    }
    [lowerBound, lowerCount] = [le, count];
  }
  return null;
}
