import {
  type CSSProperties,
  type ForwardedRef,
  forwardRef,
  type ImgHTMLAttributes,
  type ReactElement,
  type ReactNode,
  useCallback,
  useMemo,
  useState,
  useSyncExternalStore,
} from "react";
import type { Image } from "../types.js";
import { useGallery } from "./context.js";
import { type Box, boxOf, cutOf, sourcesOf, type Wanted } from "./picture.js";
import { thumbhashUrl } from "./thumbhash.js";

type ImgProps = Omit<ImgHTMLAttributes<HTMLImageElement>, "src" | "srcSet" | keyof Wanted>;

export interface GalleryImageProps extends ImgProps, Wanted {
  /** Stands in the box while there is no picture: the image is not processed yet, or has FAILED. */
  fallback?: ReactNode;
}

const NO_COLOR = "#8883";
const FADE_MS = 250;
const FADE: PropertyIndexedKeyframes = { filter: ["blur(6px)", "blur(0)"], clipPath: ["inset(0)", "inset(0)"] };

/**
 * An image in the size and format that the page needs. It keeps its place from the start, shows a blurred preview until it has
 * loaded, and loads when it comes near. Without a `className` it has its own width, and at most that of its parent.
 */
export const GalleryImage = forwardRef<HTMLImageElement, GalleryImageProps>((props, ref) => {
  const { image, width, height, fit, preset, focus, sizes, fallback, alt = image.alt, style, ...rest } = props;
  const box = boxOf(props);
  const styled = { ...(!rest.className && fluid(box)), ...style };
  if (image.status === "READY")
    return <Picture key={image.id} {...rest} {...{ alt, box }} wanted={props} style={styled} forwarded={ref} />;
  const background = image.placeholder?.color ?? NO_COLOR;
  return (
    <span
      {...(alt && !fallback && { role: "img", "aria-label": alt })}
      aria-busy={image.status !== "FAILED"}
      data-status={image.status}
      className={rest.className}
      style={{ display: "inline-block", overflow: "hidden", width: box.width, background, ...styled }}
    >
      {fallback}
    </span>
  );
});
GalleryImage.displayName = "GalleryImage";

interface PictureProps extends ImgProps {
  wanted: Wanted;
  box: Box;
  forwarded: ForwardedRef<HTMLImageElement>;
}

function Picture({ wanted, box, forwarded, alt, style, onLoad, ...rest }: PictureProps): ReactElement {
  const gallery = useGallery();
  const [loaded, setLoaded] = useState(false);
  const ref = useCallback(
    (img: HTMLImageElement | null) => {
      if (img?.complete && img.naturalWidth) setLoaded(true); // while the page had no scripts yet
      if (typeof forwarded === "function") return forwarded(img);
      if (forwarded) forwarded.current = img;
    },
    [forwarded],
  );
  const preview = usePreview(wanted.image, loaded);
  const { others, ...attributes } = sourcesOf(gallery, wanted, box);
  const img = (
    <img
      loading="lazy"
      decoding="async"
      {...rest}
      {...box}
      alt={alt}
      ref={ref}
      onLoad={(event) => {
        if (!loaded) fadeIn(event.currentTarget);
        setLoaded(true);
        onLoad?.(event);
      }}
      style={{ ...preview, ...cutOf(wanted), ...style }}
      {...attributes}
    />
  );
  if (!others.length) return img;
  return (
    <picture>
      {others.map((source) => (
        <source key={source.type} {...source} />
      ))}
      {img}
    </picture>
  );
}

/** A background until the picture has loaded; on the server it is one colour, so that pages stay small. */
function usePreview({ placeholder }: Image, loaded: boolean): CSSProperties | undefined {
  const inBrowser = useSyncExternalStore(never, yes, no);
  const hash = inBrowser && !loaded ? placeholder?.thumbhash : undefined;
  const url = useMemo(() => hash && thumbhashUrl(hash), [hash]);
  if (loaded || !placeholder) return undefined; // it would shine through a picture with transparency
  return { background: placeholder.color + (url ? ` url(${url}) center / cover no-repeat` : "") };
}

const never = () => () => {};
const yes = () => true;
const no = () => false;

function fluid({ width, height }: Box): CSSProperties {
  return { maxWidth: "100%", height: "auto", ...(width && height && { aspectRatio: `${width} / ${height}` }) };
}

function fadeIn(img: HTMLImageElement): void {
  if (window.matchMedia?.("(prefers-reduced-motion: reduce)").matches === false) img.animate(FADE, FADE_MS);
}
