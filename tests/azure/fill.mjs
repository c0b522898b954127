// Copies a folder into a container below a prefix; the container is made.
//   node fill.mjs ENDPOINT ACCOUNT KEY CONTAINER FOLDER PREFIX
import { readdir } from "node:fs/promises";
import path from "node:path";
import { BlobServiceClient, StorageSharedKeyCredential } from "@azure/storage-blob";

const [endpoint, account, key, container, folder, prefix] = process.argv.slice(2);
const service = new BlobServiceClient(endpoint, new StorageSharedKeyCredential(account, key));
const client = service.getContainerClient(container);
await client.createIfNotExists();
const entries = await readdir(folder, { recursive: true, withFileTypes: true });
for (const entry of entries.filter((entry) => entry.isFile())) {
  const file = path.join(entry.parentPath ?? entry.path, entry.name);
  const name = path.posix.join(prefix, path.relative(folder, file));
  await client.getBlockBlobClient(name).uploadFile(file);
}
