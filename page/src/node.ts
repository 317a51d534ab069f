/** The package in Node, where its files lie on a disk. */

import { readFile } from "node:fs/promises";
import { useDisk } from "./files.js";

export * from "./index.js";

useDisk(readFile);
