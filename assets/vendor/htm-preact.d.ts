// The part of htm + Preact that the page uses.
export type VNode = { type: unknown; props: unknown; key: unknown };
export function h(type: unknown, props: unknown, ...children: unknown[]): VNode;
export function html(strings: TemplateStringsArray, ...values: unknown[]): any;
export function render(tree: unknown, parent: Element): void;
export type Ref<T> = { current: T };
export function useState<T>(first: T | (() => T)): [T, (next: T | ((old: T) => T)) => void];
export function useEffect(run: () => void | (() => void), inputs?: unknown[]): void;
export function useLayoutEffect(run: () => void | (() => void), inputs?: unknown[]): void;
export function useRef<T>(first: T): Ref<T>;
export function useMemo<T>(make: () => T, inputs: unknown[]): T;
export function useCallback<T>(fn: T, inputs: unknown[]): T;
export type Context<T> = { Provider: (props: { value: T; children?: unknown }) => VNode; _?: T };
export function createContext<T>(first: T): Context<T>;
export function useContext<T>(context: Context<T>): T;
