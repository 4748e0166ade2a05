import Image from "next/image";
import { gallery } from "../gallery.js";
import { Upload } from "./upload.jsx";

export const dynamic = "force-dynamic"; // the list is of this moment

export default async function Page() {
  const { images } = await gallery.images.page({ status: "READY", limit: 24 });
  const photos = images.filter(({ visibility }) => visibility === "public"); // visitors may see no others
  return (
    <main>
      <h1>Photos</h1>
      <Upload />
      {photos.map(({ id, alt, title, width, height }) => (
        <Image
          key={id}
          src={id}
          alt={alt || title}
          width={width}
          height={height}
          sizes="20rem"
          style={{ width: "20rem", height: "auto" }}
        />
      ))}
    </main>
  );
}
