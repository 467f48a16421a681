CREATE TABLE `note` (
	`id` integer PRIMARY KEY NOT NULL,
	`text` text NOT NULL
);
