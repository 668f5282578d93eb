// Numbers, times and verdicts in words, and times back from words.

export const number = (value) => value.toLocaleString("en-US");
export const count = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;
export const score = (value) => value.toFixed(3);

const DAY_ONE = 946684800; // 2000-01-01: from here on, seconds are taken for those since 1970

/** Return seconds as h:mm:ss, or as a date and time in UTC where they can only be those since 1970. */
export function clock(seconds) {
  if (seconds >= DAY_ONE) return new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ");
  const hundredths = Math.round(Math.abs(seconds) * 100);
  const [whole, rest] = [Math.floor(hundredths / 100), hundredths % 100];
  const two = (value) => String(value).padStart(2, "0");
  const part = rest === 0 ? "" : `.${two(rest).replace(/0$/, "")}`;
  const sign = seconds < 0 ? "-" : "";
  return `${sign}${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}${part}`;
}

/** Return the seconds that a text like those of `clock` stands for; null for an empty one. */
export function seconds(text) {
  const trimmed = text.trim();
  if (trimmed === "") return null;
  if (/^-?\d+(\.\d+)?$/.test(trimmed)) return Number(trimmed);
  const hours = /^(-?)(\d+):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))?$/.exec(trimmed);
  if (hours) return (hours[1] ? -1 : 1) * (hours[2] * 3600 + hours[3] * 60 + Number(hours[4] ?? 0));
  const date = /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(:\d\d)?)$/.exec(trimmed);
  const since = date ? Date.parse(`${date[1]}T${date[2]}Z`) / 1000 : NaN;
  if (Number.isNaN(since)) throw new Error(`'${trimmed}' is not a time; write h:mm:ss, or seconds`);
  return since;
}

/** Return what the service decided about a match; "" where its bundle has no operating point. */
export function verdict(match) {
  if (match.same === null) return "";
  return match.same ? "same vehicle" : "not the same";
}

/** Return a false-match rate as people count. */
export function rate(falseMatchRate) {
  return `1 false match in ${number(Math.round(1 / falseMatchRate))} pairs of different vehicles`;
}

/** Return where and when an entry was seen, as far as that is known. */
export function origin(entry) {
  return [entry.camera, entry.time === null ? null : clock(Math.round(entry.time))]
    .filter((part) => part !== null)
    .join(" · ");
}
