// What a program wrote for a terminal, as text.

/** Sequences that move a cursor or colour (ECMA-48: CSI, OSC, and the short ones). */
const sequences = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])/g;

/**
 * The text without sequences; of a line that was written over, as by a
 * progress meter, what stood there last.
 * @param {string} text
 */
export function plainly(text) {
  return text.replace(sequences, '').split('\n')
    .map((line) => line.replace(/\r+$/, '').replace(/^[^]*\r/, '').replace(/[\0-\x08\x0b-\x1f\x7f]/g, ''))
    .join('\n');
}
