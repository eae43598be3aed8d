'use strict';
// Draws the state of a run (icd.live.run.state). Everything that comes from files becomes text, never markup.

const PERIOD = 3000;                    // milliseconds between two looks at the state
const SVG = 'http://www.w3.org/2000/svg';
const live = document.body.dataset.live === 'yes';
const find = id => document.getElementById(id);
let state = JSON.parse(find('state').textContent);
let received = Date.now();
const parts = new Map();                // folder of a training: what of the page is its own

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function draw(name, attributes, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// ------------------------------------------------------------------------------------------------- numbers and times
function short(value) {
  if (value === null || value === undefined) return '';
  const size = Math.abs(value);
  if (size >= 1e5 || (size > 0 && size < 1e-4)) return value.toExponential(1).replace('-', '\u2212');
  return value.toLocaleString('en', {maximumSignificantDigits: size >= 1000 ? 6 : 4}).replace('-', '\u2212');
}

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 48 * 3600 ? `${(seconds / 3600).toFixed(1)} h` : `${(seconds / 86400).toFixed(1)} days`;
}

// Seconds since the state was made: the clocks of browser and machine may differ.
const sinceState = () => live ? (Date.now() - received) / 1000 : 0;
const ago = when => duration(Math.max(0, state.now - when + sinceState())) + ' ago';
const whole = value => value.toLocaleString('en');

// ------------------------------------------------------------------------------------------------------------ status
const finished = stage => stage.total !== null && stage.total > 0 && stage.done >= stage.total;

function showStatus() {
  const all = state.stages.length && state.stages.every(finished);
  find('held').textContent = state.held ? 'running' : state.problem ? 'waiting' : all ? 'finished' : 'not running';
  find('held').className = state.held ? 'held' : '';
  find('wrote').textContent = state.wrote === null ? '' :
    (live ? `last wrote ${ago(state.wrote)}` : `last wrote ${new Date(1000 * state.wrote).toLocaleString()}`);
  const done = shownTraining();
  document.title = (done && done.steps ? `${Math.floor(100 * done.step / done.steps)}% ` : '') +
    (state.folder.split('/').filter(Boolean).pop() || 'A run');
  find('seen').textContent = live ? '' : `seen ${new Date(1000 * state.now).toLocaleString()}`;
}

// The training whose numbers are at the top: the one that runs, else the one that wrote last.
function shownTraining() {
  return state.trainings.find(each => each.held) ||
    [...state.trainings].sort((a, b) => (b.wrote || 0) - (a.wrote || 0))[0];
}

function notice(text) {
  find('notice').textContent = text;
  find('notice').hidden = !text;
}

function showNumbers() {
  const shown = shownTraining(), rows = [];
  if (shown) {
    if (shown.epoch !== null) rows.push(['epoch', shown.epoch, shown.epochs ? `of ${shown.epochs}` : '']);
    if (shown.step !== null) rows.push(['step', whole(shown.step), shown.steps ? `of ${whole(shown.steps)}` : '']);
    if ('loss' in shown.last) rows.push(['loss', short(shown.last.loss), 'newest line of the log']);
    if (shown.seconds_left !== null) {
      const left = shown.seconds_left - sinceState();
      rows.push(['training left', left > 0 ? duration(left) : '?', left > 0 ? 'at the pace so far' : 'the log is late']);
    }
    if ('images_per_second' in shown.last) rows.push(['images a second', short(shown.last.images_per_second), '']);
  }
  if (state.seconds_left !== null && state.plan)
    rows.push(['all stages left', duration(Math.max(0, state.seconds_left - sinceState())), 'about, with the plan']);
  find('numbers').replaceChildren(...rows.map(([title, value, note]) =>
    make('div', {}, make('dt', {}, title), make('dd', {}, String(value), make('small', {}, note)))));
}

function showStages() {
  const rows = [];
  for (const stage of state.stages) {
    const fraction = stage.total ? Math.min(1, stage.done / stage.total) : 0;
    const bar = make('i', {class: finished(stage) ? 'done' : ''});
    bar.style.width = `${100 * fraction}%`;
    const begun = stage.done || stage.held;
    const name = make('span', {class: stage.held ? 'name now' : 'name', title: stage.command}, stage.name);
    if (stage.folder && stage.folder !== stage.name) name.append(make('small', {}, stage.folder));
    const count = !begun ? 'waiting' :
      `${whole(stage.done)}${stage.total ? ` of ${whole(stage.total)}` : ''} ${stage.unit}`;
    const left = finished(stage) || stage.seconds_left === null ? '' :
      stage.held ? (stage.seconds_left > 0 ? `${duration(stage.seconds_left)} left` : '') : `about ${duration(stage.seconds_left)}`;
    const track = make('span', {class: 'bar track'}, bar);
    track.style.visibility = stage.total ? '' : 'hidden';
    rows.push(make('div', {}, name, track, make('span', {class: 'faint count'}, count),
      make('span', {class: 'faint count'}, finished(stage) ? 'done' : left)));
  }
  find('stages').querySelector('.stages').replaceChildren(...rows);
  find('stages').hidden = !rows.length;
}

// ------------------------------------------------------------------------------------------------------------ curves
function ticks(low, high, most) {
  const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find(each => each * power >= rough);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++)
    found.push(Number((n * step).toPrecision(10)));
  return found;
}

function extent(lists) {
  const known = lists.flat().filter(value => value !== null && value !== undefined);
  let low = Math.min(...known), high = Math.max(...known);
  if (low === high) [low, high] = [low - (Math.abs(low) || 1) / 10, high + (Math.abs(high) || 1) / 10];
  return [low, high];
}

// Broken where there is no value.
function path(xs, ys) {
  let text = '', pen = 'M';
  xs.forEach((x, i) => {
    if (x === null || ys[i] === null) { pen = 'M'; return; }
    text += `${pen}${x.toFixed(1)},${ys[i].toFixed(1)}`;
    pen = 'L';
  });
  return text;
}

function curve(panel, starts, width) {
  const height = 190, left = 56, right = 8, top = 8, bottom = 22, lines = panel.lines;
  const [first, last] = extent(lines.map(line => line.steps));
  const [low, high] = extent(lines.flatMap(line => [line.low || line.values, line.high || line.values]));
  const x = step => step === null ? null : left + (step - first) / (last - first) * (width - left - right);
  const y = value => value === null ? null : top + (high - value) / (high - low) * (height - top - bottom);
  const svg = draw('svg', {viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': panel.title});
  for (const value of ticks(low, high, 4))
    svg.append(draw('path', {class: 'grid', d: `M${left},${y(value)}H${width - right}`}),
      draw('text', {x: left - 6, y: y(value) + 4, 'text-anchor': 'end'}, short(value)));
  for (const step of ticks(first, last, width / 90).filter(Number.isInteger))
    svg.append(draw('text', {x: x(step), y: height - 6, 'text-anchor': x(step) > width - 30 ? 'end' : 'middle'},
      whole(step)));
  for (const step of starts.length < width / 12 ? starts.filter(each => each >= first && each <= last) : [])
    svg.append(draw('path', {class: 'start', d: `M${x(step)},${top}V${height - bottom}`}));
  lines.forEach((line, i) => {
    const xs = line.steps.map(x), ys = line.values.map(y);
    if (line.low) {
      const known = xs.map((_, k) => k).filter(k => line.low[k] !== null && xs[k] !== null);
      const around = [...known.map(k => [xs[k], y(line.high[k])]), ...known.reverse().map(k => [xs[k], y(line.low[k])])];
      svg.append(draw('path', {class: `range line${i}`, d: `M${around.map(p => p.map(v => v.toFixed(1))).join('L')}Z`}));
    }
    svg.append(draw('path', {class: `line${i}`, d: path(xs, ys)}));
    if (xs.length < 40)
      xs.forEach((_, k) => xs[k] !== null && ys[k] !== null &&
        svg.append(draw('circle', {class: `line${i}`, cx: xs[k].toFixed(1), cy: ys[k].toFixed(1), r: 2})));
  });
  return {svg, x, bottom: height - bottom, top};
}

// The values at a step: the one under the pointer, or the last.
function values(panel, index) {
  const steps = panel.lines[0].steps, at = index === null ? steps.length - 1 : index;
  const texts = panel.lines.map((line, i) => make('span', {class: `line${i}`}, short(line.values[at])));
  return [...(index === null ? [] : [`step ${whole(steps[at])}: `]), ...texts];
}

function showPanel(panel, starts, width) {
  const {svg, x, top, bottom} = curve(panel, starts, width), output = make('output', {}, ...values(panel, null));
  const cross = draw('path', {class: 'cross'}), steps = panel.lines[0].steps;
  svg.append(cross);
  svg.addEventListener('pointermove', event => {
    const at = (event.clientX - svg.getBoundingClientRect().left) * width / svg.getBoundingClientRect().width;
    const near = steps.reduce((best, step, k) => step !== null && (best === null ||
      Math.abs(x(step) - at) < Math.abs(x(steps[best]) - at)) ? k : best, null);
    if (near === null) return;
    cross.setAttribute('d', `M${x(steps[near])},${top}V${bottom}`);
    output.replaceChildren(...values(panel, near));
  });
  svg.addEventListener('pointerleave', () => {
    cross.removeAttribute('d');
    output.replaceChildren(...values(panel, null));
  });
  return make('div', {}, make('h3', {}, panel.title, output), svg);
}

// --------------------------------------------------------------------------------------------------------- trainings
const source = preview => preview.url.startsWith('data:') ? preview.url : `${preview.url}?${preview.wrote}`;
const COLUMNS = 'image; calibrated bottom-up score, + and \u2212; top-down score, + and \u2212.';
const MASKS = 'image, seed and prediction.';

function part(training) {
  if (!parts.has(training.folder)) {
    const made = {
      heading: make('h2'), curves: make('div', {class: 'curves'}), slider: make('input', {type: 'range', min: 0}),
      title: make('output'), image: make('img', {alt: ''}), log: make('pre', {class: 'log'}), options: make('code'),
      follow: true, drawn: '',
    };
    made.slider.setAttribute('aria-label', 'epoch');
    made.legend = make('p', {class: 'faint small'});
    made.previews = make('section', {}, make('h2', {}, 'Preview of an epoch'), made.legend,
      make('div', {class: 'epochs'}, made.slider, made.title), make('div', {class: 'epoch'}, made.image));
    made.text = make('section', {}, make('h2', {}, 'Log'), made.log,
      make('details', {class: 'small'}, make('summary', {class: 'faint'}, 'Options'), make('p', {}, made.options)));
    made.section = make('section', {}, made.heading, made.curves);
    made.slider.addEventListener('input', () => {
      made.follow = Number(made.slider.value) === Number(made.slider.max);
      showEpoch(made);
    });
    find('trainings').append(made.section, made.previews, made.text);
    parts.set(training.folder, made);
  }
  return parts.get(training.folder);
}

function showEpoch(made) {
  const preview = made.shown[Number(made.slider.value)];
  if (!preview) return;
  made.title.textContent = preview.title;
  made.image.alt = `preview of ${preview.title}`;
  if (made.image.getAttribute('src') !== source(preview)) made.image.src = source(preview);
}

function showTraining(training, several) {
  const made = part(training), of = several && training.folder ? training.folder : '';
  const title = training.network ? `Training of ${training.network}` : 'Training';
  made.heading.replaceChildren(title, make('small', {}, of));
  const width = Math.max(240, Math.round(made.curves.clientWidth >= 1000 ? (made.curves.clientWidth - 52) / 3 :
    made.curves.clientWidth >= 666 ? (made.curves.clientWidth - 26) / 2 : made.curves.clientWidth));
  const key = JSON.stringify([training.panels, training.starts, width]);
  if (key !== made.drawn) {             // a redrawn curve loses the pointer
    made.curves.replaceChildren(...training.panels.map(panel => showPanel(panel, training.starts, width)));
    if (!training.panels.length) made.curves.append(make('p', {class: 'faint'}, 'No line of the log yet.'));
    made.drawn = key;
  }
  made.shown = training.previews;
  made.previews.hidden = !made.shown.length;
  made.legend.textContent = 'A row an image: ' + (training.network ? MASKS : COLUMNS);
  made.slider.max = Math.max(0, made.shown.length - 1);
  made.slider.hidden = made.shown.length < 2;
  if (made.follow) made.slider.value = made.slider.max;
  showEpoch(made);
  made.log.textContent = training.log.join('\n');
  made.options.textContent = training.command || '(default options)';
  made.text.hidden = !training.log.length;
}

function showTrainings() {
  for (const [folder, made] of parts)
    if (!state.trainings.some(each => each.folder === folder)) {
      made.section.remove(); made.previews.remove(); made.text.remove();
      parts.delete(folder);
    }
  for (const training of state.trainings) showTraining(training, state.trainings.length > 1);
}

// ------------------------------------------------------------------------------------------------ previews and plan
let listed = '';

function showPreviews() {
  find('previews').hidden = !state.previews.length;
  const key = JSON.stringify(state.previews.map(preview => [preview.title, source(preview)]));
  if (key === listed) return;
  listed = key;
  find('previews').querySelector('.others').replaceChildren(...state.previews.map(preview => {
    const image = make('img', {src: source(preview), alt: `preview of ${preview.title}`, loading: 'lazy'});
    const cut = live ? make('a', {href: source(preview), target: '_blank', class: 'cut'}, image) :
      make('span', {class: 'cut'}, image);
    return make('figure', {}, cut, make('figcaption', {}, preview.title));
  }));
}

function showPlan() {
  find('plan').querySelector('.plan').textContent = state.plan;
  find('plan').hidden = !state.plan;
}

// -------------------------------------------------------------------------------------------------------------- life
function show() {
  find('folder').textContent = state.folder;
  notice(state.problem ? `${state.problem}${live ? '; this page looks again every few seconds' : ''}` : '');
  showStatus(); showNumbers(); showStages(); showTrainings(); showPreviews(); showPlan();
}

async function look() {
  if (!document.hidden) {
    try {
      const answer = await fetch('state.json', {cache: 'no-store'});
      if (!answer.ok) throw new Error(answer.status);
      state = await answer.json();
      received = Date.now();
      show();
    } catch {
      notice(`icd-watch does not answer: this is the state of ${ago(state.now)}`);
    }
  }
  setTimeout(look, PERIOD);
}

show();
addEventListener('resize', showTrainings);
if (live) {
  setTimeout(look, PERIOD);
  setInterval(() => { showStatus(); showNumbers(); }, 1000);
}
