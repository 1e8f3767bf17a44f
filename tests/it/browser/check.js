// Measures the open page; the last argument takes the answer.
const done = arguments[arguments.length - 1];

const name = (node) => {
  if (!node || node.nodeType !== Node.ELEMENT_NODE) node = node?.parentElement;
  if (!node) return "a removed element";
  const id = node.id ? `#${node.id}` : "";
  const classes = [...node.classList].map((one) => `.${one}`).join("");
  return `<${node.localName}${id}${classes}>`;
};

const measure = () => {
  const root = document.documentElement;
  const navigation = performance.getEntriesByType("navigation")[0];
  const loaded = [navigation, ...performance.getEntriesByType("resource")].map((entry) => ({
    url: entry.name,
    // What comes from the cache had to be transferred the first time.
    bytes: Math.max(entry.transferSize, entry.encodedBodySize),
  }));

  // The innermost elements that reach over the edge.
  const wide = [...document.querySelectorAll("body *")].filter(
    (one) => one.getBoundingClientRect().right + scrollX > root.clientWidth + 0.5,
  );
  const reaching = wide.filter((one) => !wide.some((other) => other !== one && one.contains(other)));

  // The browser calls those after an input excusable, but its own sizing of the window is such an input to it.
  const observer = new PerformanceObserver(() => {});
  observer.observe({ type: "layout-shift", buffered: true });
  const shifts = observer.takeRecords().map(({ value, sources }) => ({
    value,
    elements: sources.map(({ node }) => name(node)),
  }));
  observer.disconnect();

  done({
    url: location.href,
    status: navigation.responseStatus,
    width: root.clientWidth,
    content_width: root.scrollWidth,
    reaching: reaching.slice(0, 5).map(name),
    shifts,
    loaded,
  });
};

// Two frames after everything is there: what moves because of it has moved.
document.fonts.ready.then(() => requestAnimationFrame(() => requestAnimationFrame(measure)));
