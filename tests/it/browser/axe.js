// Runs axe-core over the open page. Arguments: the tags of the rules, or null for the contrast alone; then the function that
// takes the answer.
const [tags, done] = arguments;
const options = tags
  ? // Off by default, because it is of WCAG 2.2.
    { runOnly: { type: "tag", values: tags }, rules: { "target-size": { enabled: true } } }
  : { runOnly: { type: "rule", values: ["color-contrast"] } };

const line = (node) => ({
  target: node.target.flat().join(" "),
  message: [...node.any, ...node.all, ...node.none].map((check) => check.message).join("; "),
});
const finding = (rule, nodes) => ({ rule: rule.id, impact: rule.impact, help: rule.help, nodes: nodes.map(line) });

// A contrast that axe could not determine is one that nobody has checked. Of a single character it never says more; and of a text
// in an inline picture neither, for which the picture's legend stands: it has the same colours.
const undetermined = (node) =>
  !document.querySelector(node.target.flat().at(-1))?.closest("svg") &&
  node.any.some((check) => !["shortTextContent", "nonBmp"].includes(check.data?.messageKey));

axe.run(document, options).then(
  ({ violations, incomplete }) => {
    const unclear = incomplete.filter((rule) => rule.id === "color-contrast");
    done({
      findings: [
        ...violations.map((rule) => finding(rule, rule.nodes)),
        ...unclear.map((rule) => finding(rule, rule.nodes.filter(undetermined))),
      ].filter(({ nodes }) => nodes.length),
    });
  },
  (error) => done({ error: String(error) }),
);
