// Package assets holds the page: plain ES modules, style sheets and fonts, as
// the browser gets them. There is no build step.
//
//	index.html   the frame; everything else is drawn by js/main.js
//	js/model/    what the page knows and where things are; no DOM, tested by node
//	js/view/     what is drawn
//	js/i18n/     the page's own words in each language
//	vendor/      other people's files, each with its licence; see vendor/README.md
package assets

import "embed"

// FS is the page, index.html at its root. The server answers with index.html at
// / and /lesson/ID, and with the other files below /assets/.
//
//go:embed index.html css js vendor
var FS embed.FS
