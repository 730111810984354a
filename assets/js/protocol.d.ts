// What the server sends and takes, as the Go types write it in JSON:
// web/message.go, lessons/lesson.go, sim/state/snapshot.go, sim/trace/*.go.

export type Lang = 'en' | 'zh-CN' | 'zh-TW';
export type Text = { [lang: string]: string };
export type Doc = { t: string; s?: string; href?: string; c?: Doc[] };
export type Docs = { [lang: string]: Doc[] };

export type Line = { node: string; text: string };
export type Option = { id: string; label: Text; why?: Docs };
export type Predict = { question: Text; options: Option[] };
export type Focus = { tab: string; command: number; node?: string };
export type LessonStep = {
  id: string; title: Text; prose: Docs; after: Docs;
  commands: Line[] | null; predict?: Predict; focus: Focus; fails?: number[];
};
export type Lesson = { id: string; world: string; title: Text; intro: Docs; steps: LessonStep[] };
export type LessonCard = { id: string; title: Text; steps?: number; summary?: Text; intro?: Docs };

export type Snapshot = { version: number; nodes: Node[] };
export type Node = {
  name: string; kind: 'machine' | 'container' | 'switch'; machine?: string; mounted: boolean; keeper?: number; netns?: number;
  links: Link[] | null; routes: Route[] | null; policies?: Policy[]; neighs?: Neigh[]; fdb?: FDB[];
  sysctls?: { [key: string]: string }; tables?: Table[]; conns?: Conn[]; listeners?: Listener[];
  iptablesVariant?: string;
};
export type Link = {
  index: number; name: string; type: string; mac?: string; mtu: number; up: boolean; carrier: boolean; state: string;
  master?: string; peerNode?: string; peerName?: string; peerIndex?: number; parent?: string;
  addrs?: { prefix: string; broadcast?: string; scope: string; label?: string }[];
  port?: { state: string; hairpin: boolean; isolated: boolean; learning: boolean; flood: boolean };
};
export type Route = {
  table: number; type: string; dst: string; via?: string; dev?: string; src?: string;
  proto: string; scope: string; metric?: number; onlink?: boolean; down?: boolean;
};
export type Policy = { priority: number; from?: string; to?: string; iif?: string; mark?: number; table: number };
export type Neigh = { ip: string; mac?: string; dev: string; state: string };
export type FDB = { mac: string; dev: string; local?: boolean; static?: boolean; dst?: string };
export type Table = { name: string; chains: Chain[] | null };
export type Chain = { name: string; policy?: string; packets: number; bytes: number; rules?: Rule[] };
export type Rule = { spec: string; packets: number; bytes: number };
export type Tuple = { src: string; dst: string; sport?: number; dport?: number; icmpType?: number };
export type Conn = {
  id?: number; proto: string; orig: Tuple; reply: Tuple; state?: string; replied: boolean; assured: boolean;
  srcNAT?: boolean; dstNAT?: boolean; mark?: number; timeout: number;
};
export type Listener = { proto: string; addr: string; port: number; process?: string };

export type Header = {
  srcMAC?: string; dstMAC?: string; proto: string; src?: string; dst?: string; sport?: number; dport?: number;
  ttl?: number; id?: number; len?: number; icmpType?: number; icmpCode?: number; icmpID?: number; icmpSeq?: number;
  tcpFlags?: string; tcpSeq?: number; tcpAck?: number; arpOp?: string; arpMAC?: string; outer?: Header;
};
export type Evidence = 'captured' | 'reported' | 'explained' | 'simulated';
export type Step = {
  point: string; dev?: string; table?: string; chain?: string; rule?: number; ruleText?: string; verdict?: string;
  at: number; timed: boolean; before: Header; after: Header; cause?: string;
  code?: string; args?: { [name: string]: string }; note?: string; evidence: Evidence;
};
export type Hop = { node: string; steps: Step[] };
export type Trace = {
  id: string; summary: string; flow: string; reply: boolean; start: number; hops: Hop[]; also?: string[];
  disposition: string; node: string; reason?: string; code?: string; args?: { [name: string]: string };
  evidence: Evidence; counters?: { [name: string]: number };
};
export type Packet = {
  seq: number; node: string; dev: string; out: boolean; at: number; header: Header; summary: string;
  payload?: string; trace?: string;
};

export type Hello = { v: number; version: string; backend: 'kernel' | 'sim' | 'none'; model?: boolean; reason?: string; fix?: string };
export type Lab = {
  id: string; state: string; lesson: string; variant?: string; text?: string;
  /** Absent when only the state changed. */
  steps?: StepRun[] | null; own?: Command[] | null; guesses?: { [step: string]: string }; next?: string; tabs: number;
};
export type Begin = { step?: string; index: number; total: number; node: string; text: string };
export type Command = {
  step?: string; index: number; node: string; text: string; status: number;
  stdout?: string; stderr?: string; ops?: string[]; operations?: Operation[]; traces?: Trace[]; missing?: string; differs?: string[];
};
/** One of those that a docker command consisted of. */
export type Operation = { node: string; text: string; status: number };
export type Check = { ok: boolean; text: string; got?: string; says?: { code: string; args?: { [name: string]: string } }[] };
export type StepRun = {
  id: string; state: 'done' | 'failed' | 'broken' | 'skipped'; commands: Command[] | null; checks: Check[] | null;
  guess?: string; answer?: string; observed?: string; explained?: boolean; forecast?: Forecast;
};
export type Forecast = {
  step: string; commands: Command[] | null; missing?: string; answer?: string; observed?: string;
  differences?: { what: string; model: string; kernel: string; known?: string }[];
};
export type ServerError = { code: string; text: string; do?: string };
export type Message = {
  type: string; id?: number; hello?: Hello; lab?: Lab; snapshot?: Snapshot; packets?: Packet[]; trace?: Trace;
  dropped?: number; unfollowed?: number; begin?: Begin; command?: Command; forecast?: Forecast; step?: StepRun; error?: ServerError; done?: boolean;
};
export type Request = {
  type: string; v?: number; lesson?: string; step?: string; done?: boolean; option?: string; node?: string; text?: string;
};
