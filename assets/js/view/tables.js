// The lab as tables: packets, headers, rules, connections, neighbours, links.

import { html, useLayoutEffect, useRef, useState } from '../../vendor/htm-preact.js';
import { actedRules, endpoint } from '../model/journey.js';
import { simulated } from '../model/compare.js';
import { currentBeat, currentBeats, currentTrace, keep, shownNode, shownPacket } from '../model/state.js';
import { usePage } from './context.js';
import { Address, Coloured, Words } from './text.js';

/** @import { Node, Tuple, Header } from '../protocol' */

/** Which node the table is of. */
function NodePicker() {
  const { s, c, t } = usePage();
  const now = shownNode(s);
  return html`<div class="picker" role="group" aria-label=${t('node')}>
    ${(s.snapshot?.nodes ?? []).map((n) => html`<button key=${n.name} type="button" class="chip" aria-pressed=${String(n.name === now)} onClick=${() => c.node(n.name)}>${n.name || t('unnamed')}</button>`)}
  </div>`;
}

/** @returns {Node | undefined} */
function useNode() {
  const { s } = usePage();
  return s.snapshot?.nodes.find((n) => n.name === shownNode(s));
}

/** @param {{ caption: string, heads: string[], children?: unknown }} props */
const Table = ({ caption, heads, children }) => html`<table class="data"><caption>${caption}</caption>
  <thead><tr>${heads.map((h) => html`<th key=${h} scope="col">${h}</th>`)}</tr></thead><tbody>${children}</tbody></table>`;

/** @param {{ text: string }} props */
const Nothing = ({ text }) => html`<p class="nothing">${text}</p>`;

const rowHeight = 26; // css/drawer.css gives the rows this height

/** Live, newest last; only the rows in view are drawn. */
export function Packets() {
  const { s, c, t } = usePage();
  const frame = /** @type {{ current: HTMLElement | null }} */ (useRef(null));
  const stick = useRef(true);
  const [top, setTop] = useState(0);
  const list = s.packets;
  useLayoutEffect(() => {
    const el = frame.current;
    if (el && stick.current) el.scrollTop = el.scrollHeight;
  }, [list.length, s.seen]);
  if (!list.length) return html`<${Nothing} text=${t('packets.none')} />`;
  const begin = list[0].at;
  const height = frame.current?.clientHeight ?? 300;
  const from = Math.max(0, Math.min(Math.floor(top / rowHeight) - 8, list.length - 1));
  const to = Math.min(list.length, from + Math.ceil(height / rowHeight) + 16);
  /** @param {number} rows */
  const spacer = (rows) => rows > 0 && html`<tr class="spacer" aria-hidden="true" style=${{ height: `${rows * rowHeight}px` }}><td colspan="8"></td></tr>`;
  return html`<div class="list" ref=${frame} tabindex="0" role="region" aria-label=${t('tab.packets')}
    onScroll=${(/** @type {Event} */ e) => { const el = /** @type {HTMLElement} */ (e.currentTarget); stick.current = el.scrollHeight - el.scrollTop - el.clientHeight < 30; setTop(el.scrollTop); }}>
    <table class="data packets" aria-rowcount=${list.length + 1}><caption class="sr">${t('tab.packets')}</caption>
      <thead><tr>${['time', 'node', 'dev', 'dir', 'what', 'ends', 'ttl', 'payload'].map((k) => html`<th key=${k} scope="col">${t(`col.${k}`)}</th>`)}</tr></thead>
      <tbody>${spacer(from)}${list.slice(from, to).map((p, i) => html`<tr key=${p.seq} aria-rowindex=${from + i + 2} class=${`${p.seq === s.packet ? 'sel' : ''} ${p.trace && p.trace === s.trace ? 'mine' : ''}`} onClick=${() => c.packet(p.seq)}>
        <td class="num"><button type="button" class="pick" aria-pressed=${String(p.seq === s.packet)} aria-label=${`${seconds(p.at - begin)}: ${t('packet.pick', { n: p.seq })}`}>${seconds(p.at - begin)}</button></td>
        <td>${p.node}</td><td>${p.dev}</td><td>${p.out ? `${t('dir.out')} ↗` : `${t('dir.in')} ↘`}</td><td>${p.summary}</td>
        <td><${Ends} h=${p.header} /></td><td class="num">${p.header.ttl ?? ''}</td><td class="payload">${p.payload ?? ''}</td></tr>`)}${spacer(list.length - to)}</tbody>
    </table>
    ${s.seen > keep && html`<p class="hint">${t('packets.kept', { n: keep, seen: s.seen })}</p>`}
    ${s.unfollowed > 0 && html`<p class="hint">${t('packets.unfollowed', { n: s.unfollowed })}</p>`}
    ${s.dropped > 0 && html`<p class="hint warn">${t('packets.dropped', { n: s.dropped })}</p>`}
  </div>`;
}

/** Nanoseconds as seconds, to the microsecond. @param {number} ns */
const seconds = (ns) => (Math.max(0, ns) / 1e9).toFixed(6);

/** @param {{ h: Header }} props */
function Ends({ h }) {
  return html`<${Address} of=${endpoint(h, 'src')} /> <span aria-hidden="true">→</span> <${Address} of=${endpoint(h, 'dst')} />`;
}

/** The headers of the selected sighting, or of the journey's packet where it is now. */
export function Layers() {
  const { s, t } = usePage();
  const picked = shownPacket(s);
  const beat = currentBeats(s)[currentBeat(s)];
  const h = picked ? picked.header : beat?.after;
  if (!h) return html`<${Nothing} text=${t('layers.none')} />`;
  const where = picked ? t('layers.packet', { n: picked.seq, node: picked.node, dev: picked.dev }) : t('layers.beat', { summary: currentTrace(s)?.summary, n: beat.index + 1, node: beat.node });
  return html`<div class="layers"><p class="hint">${where}${!picked && simulated(currentTrace(s)) && html` · <span class="ev simulated">${t('ev.simulated')}</span>`}</p>
    <div class="stack">
      ${h.outer && html`<${Headers} of=${h.outer} outer />`}
      <${Headers} of=${h} />
      ${picked?.payload && html`<${Layer} name=${t('layer.payload')} rows=${[['layer.text', picked.payload]]} />`}
    </div></div>`;
}

/** @param {{ of: Header, outer?: boolean }} props */
function Headers({ of: h, outer }) {
  const { t } = usePage();
  const name = (/** @type {string} */ x) => (outer ? t('layer.outer', { name: x }) : x);
  return html`${(h.srcMAC || h.dstMAC) && html`<${Layer} name=${name('Ethernet')} rows=${[['layer.dstmac', h.dstMAC], ['layer.srcmac', h.srcMAC], ['layer.type', h.proto === 'arp' ? '0x0806 ARP' : '0x0800 IPv4']]} />`}
    ${h.proto === 'arp' ? html`<${Layer} name=${name('ARP')} rows=${[['layer.op', h.arpOp], ['layer.asker', h.src], ['layer.asked', h.dst], ['layer.answer', h.arpMAC]]} />`
      : html`<${Layer} name=${name('IPv4')} rows=${[['layer.src', h.src], ['layer.dst', h.dst], ['layer.ttl', h.ttl], ['layer.proto', h.proto], ['layer.id', h.id], ['layer.len', h.len && t('bytes', { n: h.len })]]} />`}
    ${h.proto === 'icmp' && html`<${Layer} name=${name('ICMP')} rows=${[['layer.icmptype', `${h.icmpType ?? 0}/${h.icmpCode ?? 0}`], ['layer.icmpid', h.icmpID], ['layer.icmpseq', h.icmpSeq]]} />`}
    ${(h.proto === 'tcp' || h.proto === 'udp') && html`<${Layer} name=${name(h.proto.toUpperCase())} rows=${[['layer.sport', h.sport], ['layer.dport', h.dport], ['layer.flags', h.tcpFlags], ['layer.seq', h.tcpSeq], ['layer.ack', h.tcpAck]]} />`}`;
}

/** @param {{ name: string, rows: [string, string | number | undefined][] }} props */
function Layer({ name, rows }) {
  const { t } = usePage();
  return html`<section class="layer"><h2>${name}</h2><dl>${rows.filter(([, v]) => v !== undefined && v !== '').map(([k, v]) => html`<div key=${k}><dt>${t(k)}</dt><dd><${Coloured} text=${String(v)} /></dd></div>`)}</dl></section>`;
}

export function Iptables() {
  const { s, t } = usePage();
  const node = useNode();
  const acted = actedRules(currentBeats(s));
  const model = simulated(currentTrace(s)) && s.hello?.backend !== 'sim'; // rules of the kernel, acting in the model only
  const tables = node?.tables ?? [];
  return html`<div class="tables"><${NodePicker} />
    ${node?.iptablesVariant && s.hello?.backend !== 'sim' && html`<p class="hint">${t('iptables.variant', { variant: node.iptablesVariant })}</p>`}
    ${tables.length === 0 && html`<${Nothing} text=${t('iptables.none')} />`}
    <div class="columns">${tables.map((tb) => html`<section key=${tb.name} class="ipt"><h2>${t('table.named', { name: tb.name })}</h2>
      ${(tb.chains ?? []).map((ch) => {
        const policy = `${node?.name} ${tb.name} ${ch.name} policy`;
        const policyActed = acted.has(policy);
        return html`<table key=${ch.name} class="data chain">
          <caption class=${policyActed ? 'hit' : ''}>${ch.name}${ch.policy && html` <span class=${`pol ${ch.policy}`}>${t('policy', { policy: ch.policy })}</span>`}
            <span class="counts">${t('counted', { packets: ch.packets, bytes: ch.bytes })}</span></caption>
          <thead class="sr"><tr><th scope="col">#</th><th scope="col">${t('col.rule')}</th><th scope="col">${t('col.packets')}</th><th scope="col">${t('col.bytes')}</th></tr></thead>
          <tbody>${(ch.rules ?? []).map((r, i) => {
            const hit = acted.has(`${node?.name} ${tb.name} ${ch.name} ${i + 1}`);
            return html`<tr key=${i} class=${hit ? 'hit' : ''}><td class="num">${i + 1}</td><td class="spec"><${Words} text=${r.spec} />${hit && html`<span class="mark">${t(model ? 'acted.sim' : 'acted')}</span>`}</td><td class="num">${r.packets}</td><td class="num">${r.bytes}</td></tr>`;
          })}</tbody></table>`;
      })}</section>`)}</div></div>`;
}

export function Conntrack() {
  const { t } = usePage();
  const node = useNode();
  const list = node?.conns ?? [];
  return html`<div class="tables"><${NodePicker} />
    ${list.length === 0 ? html`<${Nothing} text=${t('conntrack.none')} />` : html`<${Table} caption=${t('conntrack.caption', { node: node?.name })} heads=${[t('col.proto'), t('col.orig'), t('col.reply'), t('col.nat'), t('col.state'), t('col.timeout')]}>
      ${list.map((k) => html`<tr><td>${k.proto}</td><td><${TupleView} of=${k.orig} /></td>
        <td><${TupleView} of=${k.reply} mark=${{ src: k.reply.src !== k.orig.dst || (k.proto !== 'icmp' && k.reply.sport !== k.orig.dport), dst: k.reply.dst !== k.orig.src || (k.proto !== 'icmp' && k.reply.dport !== k.orig.sport) }} /></td>
        <td>${[k.srcNAT ? 'SNAT' : '', k.dstNAT ? 'DNAT' : ''].filter(Boolean).join(' + ') || '–'}</td>
        <td>${[k.state, k.replied ? t('conn.replied') : t('conn.unreplied'), k.assured ? t('conn.assured') : ''].filter(Boolean).join(', ')}</td><td class="num">${t('seconds', { n: k.timeout })}</td></tr>`)}
    </${Table}><p class="hint">${t('conntrack.hint')}</p>`}</div>`;
}

/** @param {{ of: Tuple, mark?: { src: boolean, dst: boolean } }} props */
function TupleView({ of, mark }) {
  const icmp = of.icmpType !== undefined || !of.dport;
  const src = of.src + (of.sport && !icmp ? `:${of.sport}` : '');
  const dst = of.dst + (of.dport ? `:${of.dport}` : '');
  return html`<span class=${mark?.src ? 'nat' : ''}><${Address} of=${src} /></span> <span aria-hidden="true">→</span> <span class=${mark?.dst ? 'nat' : ''}><${Address} of=${dst} /></span>${icmp && of.sport ? html` <span class="dim">id ${of.sport}</span>` : ''}`;
}

export function Neighbours() {
  const { t } = usePage();
  const node = useNode();
  const arp = node?.neighs ?? [];
  const fdb = node?.fdb ?? [];
  return html`<div class="tables"><${NodePicker} /><div class="columns">
    ${arp.length ? html`<${Table} caption=${t('arp.caption', { node: node?.name })} heads=${[t('col.ip'), 'MAC', t('col.dev'), t('col.state')]}>
      ${arp.map((n) => html`<tr><td><${Address} of=${n.ip} /></td><td class="mono">${n.mac || '–'}</td><td>${n.dev}</td><td>${n.state}</td></tr>`)}</${Table}>`
      : html`<${Nothing} text=${t('arp.none', { node: node?.name })} />`}
    ${fdb.length > 0 && html`<${Table} caption=${t('fdb.caption', { node: node?.name })} heads=${['MAC', t('col.port'), t('col.how')]}>
      ${fdb.map((f) => html`<tr><td class="mono">${f.mac}</td><td>${f.dev}</td><td>${f.local ? t('fdb.local') : f.static ? t('fdb.static') : t('fdb.learned')}</td></tr>`)}</${Table}>`}
  </div></div>`;
}

export function Interfaces() {
  const { t } = usePage();
  const node = useNode();
  return html`<div class="tables"><${NodePicker} /><div class="columns">
    <${Table} caption=${t('links.caption', { node: node?.name })} heads=${['#', t('col.dev'), t('col.type'), t('col.state'), t('col.addrs'), t('col.master'), t('col.peer'), 'MAC', 'MTU']}>
      ${(node?.links ?? []).map((l) => html`<tr key=${l.index}><td class="num">${l.index}</td><td><b>${l.name}</b></td><td>${l.type}</td>
        <td>${l.up ? t('up') : t('down')}${l.up && !l.carrier ? ` · ${t('nocarrier')}` : ''}</td>
        <td>${(l.addrs ?? []).map((a, i) => [i ? ' ' : '', html`<${Address} of=${a.prefix} />`])}</td>
        <td>${l.master ?? ''}</td><td>${l.peerName ? `${l.peerNode ? `${l.peerNode}/` : ''}${l.peerName}` : ''}</td><td class="mono">${l.mac ?? ''}</td><td class="num">${l.mtu}</td></tr>`)}</${Table}>
    ${!node?.routes?.length ? html`<${Nothing} text=${t('routes.none', { node: node?.name })} />` : html`<${Table} caption=${t('routes.caption', { node: node?.name })} heads=${[t('col.dst'), t('col.via'), t('col.dev'), t('col.src'), t('col.from')]}>
      ${(node?.routes ?? []).map((r) => html`<tr class=${r.down ? 'off' : ''}><td>${r.dst === '0.0.0.0/0' ? 'default' : html`<${Coloured} text=${r.dst} />`}${r.type !== 'unicast' ? ` ${r.type}` : ''}</td>
        <td><${Address} of=${r.via} /></td><td>${r.dev ?? ''}</td><td><${Address} of=${r.src} /></td><td>${r.proto}${r.down ? ` · ${t('down')}` : ''}</td></tr>`)}</${Table}>`}
    <${Table} caption=${t('sysctls.caption', { node: node?.name })} heads=${[t('col.key'), t('col.value')]}>
      ${Object.entries(node?.sysctls ?? {}).sort(([a], [b]) => a.localeCompare(b)).map(([k, v]) => html`<tr key=${k}><td class="mono">${k}</td><td class="num">${v}</td></tr>`)}</${Table}>
  </div></div>`;
}

/** The stage as a table: every interface of every node, and what it is joined to. */
export function World() {
  const { s, t } = usePage();
  const nodes = s.snapshot?.nodes ?? [];
  const beat = currentBeats(s)[currentBeat(s)];
  if (!nodes.length) return html`<${Nothing} text=${t('stage.wait')} />`;
  return html`<div class="tables"><${Table} caption=${t('world.caption')} heads=${[t('node'), t('col.dev'), t('col.type'), t('col.state'), t('col.addrs'), t('col.joined')]}>
    ${nodes.flatMap((n) => (n.links?.length ? n.links : [null]).map((l, i) => html`<tr key=${`${n.name} ${l?.name}`} class=${beat && beat.node === n.name && l && beat.step.dev === l.name ? 'hit' : ''}>
      ${i === 0 && html`<th scope="rowgroup" rowspan=${n.links?.length || 1}>${n.name || t('unnamed')}<span class="dim"> ${t(`role.${n.kind}`)}</span></th>`}
      ${l ? html`<td>${l.name}</td><td>${l.type}</td><td>${l.up ? t('up') : t('down')}${l.up && !l.carrier ? ` · ${t('nocarrier')}` : ''}</td>
      <td>${(l.addrs ?? []).map((a, k) => [k ? ' ' : '', html`<${Address} of=${a.prefix} />`])}</td>
      <td>${[l.master ? t('joined.bridge', { bridge: l.master }) : '', l.peerName ? t('joined.cable', { node: l.peerNode || '?', dev: l.peerName }) : ''].filter(Boolean).join(' · ')}</td>`
      : html`<td colspan="5">–</td>`}</tr>`))}
  </${Table}></div>`;
}

