ALTER TABLE `note` ADD `author` text DEFAULT 'nobody' NOT NULL;
