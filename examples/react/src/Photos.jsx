import { GalleryImage, useGallery, useImages } from "gallery-client/react";
import { useDeferredValue, useState } from "react";

export function Photos() {
  const gallery = useGallery();
  const [text, setText] = useState("");
  const search = useDeferredValue(text);
  // With `signed`, the URLs of private images work in <img>, which sends no token. Events keep the list live.
  const { images, error, loading, hasMore, more } = useImages({ signed: true, limit: 24, ...(search && { search }) });
  return (
    <section aria-label="Photos" aria-busy={loading}>
      <input type="search" placeholder="Search" aria-label="Search" onChange={({ target }) => setText(target.value)} />
      {error && <p role="alert">{error.message}</p>}
      <ul className="photos">
        {images.map((image) => (
          <li key={image.id}>
            <GalleryImage image={image} width={320} height={240} sizes="(min-width: 48rem) 15rem, 50vw" />
            <span>{image.title || image.originalName}</span>
            <button type="button" onClick={() => gallery.images.delete(image.id)}>
              Delete
            </button>
          </li>
        ))}
      </ul>
      {hasMore && (
        <button type="button" onClick={more}>
          More
        </button>
      )}
    </section>
  );
}
