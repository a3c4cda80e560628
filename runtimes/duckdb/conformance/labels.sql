-- $value (int)
-- result_collection=last_statement_first_row
select ['red', 'blue'] as wm_labels, $value as value
