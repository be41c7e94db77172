/** The page's style sheet. Charts take their colours from its variables. */
export const style = `
:root { color-scheme: light dark; --text: #1c2430; --muted: #5d6878; --line: #d9dee6; --page: #f6f7f9; --card: #fff;
  --accent: #1f6fb2; --warm: #d1622b; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e9ee; --muted: #9aa5b5; --line: #39424f; --page: #14181e;
  --card: #1c222b; --accent: #6bb2ea; --warm: #f0935f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
header, main, footer { max-width: 1180px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 32px; }
h1 { font-size: 26px; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 0 0 4px; }
p { margin: 4px 0 12px; color: var(--muted); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 20px 24px; margin: 20px 0; }
.tiles { list-style: none; margin: 20px 0 0; padding: 0; display: grid; gap: 14px;
  grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); }
.tiles li { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; }
.tiles span { display: block; color: var(--muted); font-size: 13px; }
.tiles .name { font-weight: 600; }
.tiles strong { display: block; font-size: 26px; line-height: 1.35; font-weight: 650; }
.chart { width: 100%; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { text-align: right; padding: 5px 10px; border-bottom: 1px solid var(--line); }
th { color: var(--muted); font-weight: 600; vertical-align: bottom; }
tr:last-child td { border-bottom: 0; }
footer { padding-top: 4px; padding-bottom: 32px; color: var(--muted); font-size: 13px; }
`;
