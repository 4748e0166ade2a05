/**
 * The look. All colours come from the text's colour, the accent and two signal colours, so it fits to light and dark pages.
 * Written tightly, since pages load it as it stands here.
 */
const CSS = `
:host{
--a:var(--gallery-upload-accent,light-dark(#0f766e,#5eead4));
--on:var(--gallery-upload-accent-text,light-dark(#fff,#042f2e));
--bad:var(--gallery-upload-danger,light-dark(#b42318,#fda29b));
--good:var(--gallery-upload-success,light-dark(#067647,#6ee7a8));
--muted:var(--gallery-upload-muted,color-mix(in srgb,currentColor 72%,#0000));
--line:var(--gallery-upload-border,color-mix(in srgb,currentColor 16%,#0000));
--soft:color-mix(in srgb,currentColor 6%,#0000);
--tint:color-mix(in srgb,var(--a) 12%,#0000);
--r:var(--gallery-upload-radius,.875rem);
--thumb:var(--gallery-upload-thumbnail-size,3rem);
display:block;line-height:1.4}
:host([hidden]),[hidden]{display:none!important}
*{box-sizing:border-box}
.whole{container-type:inline-size}
.dropzone,.summary,.buttons,li{display:flex;align-items:center;gap:.75rem}
.dropzone{flex-direction:column;padding:2rem 1.25rem;text-align:center;border:1.5px dashed color-mix(in srgb,currentColor 35%,#0000);border-radius:var(--r);background:var(--gallery-upload-background,color-mix(in srgb,currentColor 3%,#0000));cursor:pointer;transition:background .15s}
.over,.dropzone:hover:not(.disabled){border-color:var(--a);background:var(--tint)}
.words,.list{display:flex;flex-direction:column;gap:.25rem;min-width:0;overflow-wrap:anywhere}
.title{font-weight:600}
.hint,.status{color:var(--muted);font-size:.875em;font-variant-numeric:tabular-nums}
.icon,.thumbnail{display:grid;flex:none;place-items:center;width:var(--thumb);height:var(--thumb)}
.icon{border-radius:50%;color:var(--a);background:var(--tint)}
.buttons{flex-wrap:wrap;justify-content:center;gap:.5rem}
.compact{flex-flow:wrap;padding:.875rem 1rem;text-align:start}
.compact .words,.summary .words{flex:1 1 10rem}
svg{width:1.25rem;height:1.25rem;flex:none;fill:none;stroke:currentColor;stroke-width:1.75;stroke-linecap:round;stroke-linejoin:round}
button{display:inline-flex;align-items:center;justify-content:center;gap:.4em;min-height:2.25rem;padding:.375em .9em;font:inherit;font-size:.9375em;font-weight:500;color:inherit;background:none;border:1px solid var(--line);border-radius:calc(var(--r)*.65);cursor:pointer}
button:hover{background:var(--soft)}
button:focus-visible{outline:2px solid var(--a);outline-offset:2px}
button:disabled,.disabled{cursor:not-allowed}
button:disabled{opacity:.5}
.choose,.choose:hover{color:var(--on);background:var(--a);border-color:#0000}
.choose:hover{filter:brightness(1.1)}
.round{width:2.25rem;padding:0;flex:none;color:var(--muted);border-color:#0000;border-radius:50%}
.notice{margin:.75rem 0 0}
.notice,.failed .status{color:var(--bad)}
.summary{flex-wrap:wrap;margin-block-start:1rem}
.list{gap:0;max-block-size:var(--gallery-upload-list-height,28rem);margin:.5rem 0 0;padding:0;overflow:auto;list-style:none}
li{flex:none;padding:.5rem .25rem;content-visibility:auto;contain-intrinsic-size:auto calc(var(--thumb) + 1rem)}
li+li{border-block-start:1px solid var(--line)}
li .words{flex:1;gap:.125rem}
.name{align-self:start;max-width:100%;overflow:hidden;white-space:nowrap;text-overflow:ellipsis;font-weight:500}
.thumbnail{position:relative;color:var(--muted);background:var(--soft);border-radius:calc(var(--r)*.65)}
.thumbnail>*{grid-area:1/1}
img{width:100%;height:100%;object-fit:cover;border-radius:inherit}
.thumbnail:after{position:absolute;inset-block-end:-.25rem;inset-inline-end:-.25rem;width:1.125rem;font:bold .75rem/1.125rem sans-serif;text-align:center;border-radius:50%;color:light-dark(#fff,#000)}
.ready .thumbnail:after{content:"✓"/"";background:var(--good)}
.failed .thumbnail:after{content:"!"/"";background:var(--bad)}
progress{appearance:none;display:block;width:100%;height:.3125rem;margin-block:.25rem;overflow:hidden;border:0;border-radius:1rem;background:var(--line)}
::-webkit-progress-bar{background:none}
::-webkit-progress-value{background:var(--a);border-radius:1rem;transition:inline-size .2s}
::-moz-progress-bar{background:var(--a)}
:indeterminate{background:linear-gradient(90deg,#0000 25%,var(--a),#0000 75%) 0/50% repeat-x var(--line);animation:flow 1.2s linear infinite}
:indeterminate::-moz-progress-bar{background:none}
@keyframes flow{to{background-position-x:200%}}
.live{position:absolute;width:1px;height:1px;margin:-1px;overflow:hidden;clip-path:inset(50%)}
@container (max-width:24rem){.buttons{flex-direction:column;align-items:stretch;width:100%}}
@media not (any-pointer:coarse){.camera{display:none}}
@media (pointer:coarse){button{min-height:2.75rem}.round{width:2.75rem}}
@media (prefers-reduced-motion){*,::-webkit-progress-value{transition:none!important;animation:none!important}}
@media (forced-colors:active){
button{border-color:ButtonBorder}
progress{border:1px solid}
::-webkit-progress-value{background:Highlight;forced-color-adjust:none}
}`;

let sheet: CSSStyleSheet | undefined;

/** One style sheet for all elements of the page. Made by a script, it needs no `unsafe-inline`. */
export function styleSheet(): CSSStyleSheet {
  if (!sheet) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(CSS);
  }
  return sheet;
}
